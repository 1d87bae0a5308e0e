"""The last few things that were read, by a name that says what they are."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Memory(Generic[V]):
    """At most `most` values; the least recently used goes first. For one thread, as a worker's slot is."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[str, V] = OrderedDict()

    def get(self, name: str, read: Callable[[], V]) -> V:
        """The value of the name, read where it is not here."""
        if name not in self.values:
            self.values[name] = read()
            if len(self.values) > self.most:
                self.values.popitem(last=False)
        self.values.move_to_end(name)
        return self.values[name]
