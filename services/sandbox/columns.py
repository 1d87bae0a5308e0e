"""Results that agree up to the order of their columns."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from services.sandbox.results import BAG_MODULUS, digest, encode, finish_bag

Rows = Sequence[Sequence[Any]]
Mark = tuple[str, str]


@dataclass(frozen=True)
class Target:
    """What a candidate is held against: the gold's hash, its row count and a mark for each of its columns."""

    hash: str
    ordered: bool
    row_count: int
    marks: list[Mark]


def mark(rows: Rows, column: int) -> Mark:
    """Two hashes of one column: as a bag of cells, and as a list of cells."""
    bag, listed = 0, hashlib.blake2b(digest_size=16)
    for row in rows:
        data = encode([row[column]])
        listed.update(data + b"\n")
        bag += digest(data)
    return finish_bag(bag % BAG_MODULUS, len(rows))[:32], listed.hexdigest()


def marks(rows: Rows, width: int) -> list[Mark]:
    """A mark for each column."""
    return [mark(rows, column) for column in range(width)]


def arrangements(mine: Sequence[Mark], gold: Sequence[Mark]) -> Iterator[list[int]]:
    """Orders of my columns whose bags agree with the gold's, column by column.

    Of columns that are equal as lists only the first free one is tried: swapping them changes nothing.
    """

    def extend(chosen: list[int]) -> Iterator[list[int]]:
        if len(chosen) == len(gold):
            yield chosen
            return
        tried: set[str] = set()
        for column, (bag, listed) in enumerate(mine):
            if column not in chosen and bag == gold[len(chosen)][0] and listed not in tried:
                tried.add(listed)
                yield from extend([*chosen, column])

    return extend([])


def bag_under(rows: Rows, order: Sequence[int]) -> str:
    """The order-free hash of rows whose columns are taken in `order`."""
    total = sum(digest(encode([row[column] for column in order])) for row in rows)
    return finish_bag(total % BAG_MODULUS, len(rows))


def agrees(rows: Rows, width: int, target: Target, most: int, check: Callable[[], None]) -> bool | None:
    """Whether some order of the columns gives the target; None when more than `most` orders would have to be tried.

    `check` is called between tries and may raise (the deadline).
    """
    if width < 2 or width != len(target.marks) or len(rows) != target.row_count:
        return False
    mine = marks(rows, width)
    if target.ordered:
        return sorted(listed for _, listed in mine) == sorted(listed for _, listed in target.marks)
    if sorted(bag for bag, _ in mine) != sorted(bag for bag, _ in target.marks):
        return False
    tries = 0
    for order in islice(arrangements(mine, target.marks), most):
        check()
        tries += 1
        if bag_under(rows, order) == target.hash:
            return True
    return False if tries < most else None
