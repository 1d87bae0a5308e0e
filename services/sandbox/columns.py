"""Results that agree up to the order of their columns."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

from services.sandbox.results import Row, encode, fingerprint
from services.sandbox.rules import Mark, Target


def marks(rows: Sequence[Row]) -> list[Mark]:
    """Two fingerprints of each column: as a bag of cells, and as a list of cells."""
    columns = [encode(column) for column in zip(*rows, strict=True)]
    return [(fingerprint(cells, "bag"), fingerprint(cells, "list")) for cells in columns]


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


def arranged(rows: Sequence[Row], target: Target, kind: str, most: int, check: Callable[[], None]) -> bool | None:
    """Whether some order of the columns gives the target; None when more than `most` orders would have to be tried.

    `check` is called between tries and may raise (the deadline).
    """
    if target.width < 2 or len(rows) != target.row_count or len(rows[0]) != target.width:
        return False
    mine = marks(rows)
    side = 1 if kind == "list" else 0
    if sorted(mark[side] for mark in mine) != sorted(mark[side] for mark in target.marks):
        return False
    if kind == "list":  # columns that agree as lists agree together
        return True
    tries = 0
    for order in islice(arrangements(mine, target.marks), most):
        check()
        tries += 1
        if fingerprint(encode(map(itemgetter(*order), rows)), kind) == target.fingerprint:
            return True
    return False if tries < most else None
