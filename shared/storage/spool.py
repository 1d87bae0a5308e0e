"""Rows on disk that behave as a sequence: what passes through is not held in memory."""

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from pydantic import BaseModel

from shared.storage.jsonl import dump_rows

M = TypeVar("M", bound=BaseModel)
COPY_BYTES = 1 << 20


class Spool(Sequence[M], Generic[M]):
    """Rows of one model in a nameless temporary file; 16 bytes of memory a row.

    A view by `arranged` shares the file: the same rows in another order, or some of them.
    """

    def __init__(self, model: type[M], rows: Iterable[M] = ()) -> None:
        self.model = model
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the last view of it)
        self.starts, self.sizes = array("Q"), array("Q")
        self.end = 0
        for row in rows:
            self.append(row)

    def append(self, row: M) -> None:
        """One more row at the end. Raises `InvalidInputError` for text that is not valid Unicode."""
        line = dump_rows([row])
        self.file.seek(self.end)
        self.file.write(line)
        self.starts.append(self.end)
        self.sizes.append(len(line))
        self.end += len(line)

    def arranged(self, places: Iterable[int]) -> "Spool[M]":
        """The rows at these places, in their order; nothing may be appended to the view."""
        view = Spool.__new__(type(self))
        view.model, view.file, view.end = self.model, self.file, self.end
        view.starts, view.sizes = array("Q"), array("Q")
        for place in places:
            view.starts.append(self.starts[place])
            view.sizes.append(self.sizes[place])
        return view

    def lines(self) -> Iterator[bytes]:
        """Each row's line, as `dump_rows` writes it."""
        for start, size in zip(self.starts, self.sizes, strict=True):
            self.file.seek(start)
            yield self.file.read(size)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[M]:
        return map(self.model.model_validate_json, self.lines())

    @overload
    def __getitem__(self, place: int) -> M: ...

    @overload
    def __getitem__(self, place: slice) -> "Spool[M]": ...

    def __getitem__(self, place: int | slice) -> "M | Spool[M]":
        """A row, or a view for a slice."""
        if isinstance(place, slice):
            return self.arranged(range(len(self))[place])
        at = range(len(self))[place]
        self.file.seek(self.starts[at])
        return self.model.model_validate_json(self.file.read(self.sizes[at]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]
