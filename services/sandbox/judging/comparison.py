"""Comparing results under a rule: canonical cells, fingerprints, and orders of columns.

The child imports this module, so it imports nothing heavy. Functions work on whole lists of rows through C code: a
result of 20,000 rows takes about ten milliseconds, where a loop over its cells would cost more than the query.
"""

import marshal
import math
from _blake2 import blake2b
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from operator import itemgetter
from typing import Any

Cell = str | int | float | bytes | None
Row = tuple[Cell, ...]
MARSHAL_VERSION = 2  # without references and interning, so equal cells give equal bytes
# Relative distance below which a float counts as an integer.
NEAR_INTEGER = 1e-12
# Beyond SQLite's integers a float stays a float.
LARGEST_INTEGER = 2.0**63


def tolerant_float(value: float) -> int | float:
    """An integer when the value is one (up to rounding noise), otherwise nine significant digits.

    It passes through thirteen digits first, so that noise around a short decimal cannot fall to two sides.
    """
    if not math.isfinite(value):
        return value
    nearest = round(value)
    if abs(value) < LARGEST_INTEGER and abs(value - nearest) <= NEAR_INTEGER * abs(value):
        return nearest
    return float(f"{float(f'{value:.13g}'):.9g}")


def exact_float(value: float) -> int | float:
    """Python's equality as one form: 1.0 becomes 1, and different numbers stay different."""
    return int(value) if value.is_integer() else value


def has_floats(rows: Iterable[Sequence[Any]]) -> bool:
    return float in set(map(type, chain.from_iterable(rows)))


def canonical(rows: Sequence[Row], *, exact: bool) -> Sequence[Row]:
    """Rows whose equal cells have one form: 1 and 1.0 agree; NULL, '' and a blob never do."""
    if not has_floats(rows):
        return rows
    form = exact_float if exact else tolerant_float
    return [tuple(form(cell) if type(cell) is float else cell for cell in row) for row in rows]


def encode(items: Iterable[Any]) -> list[bytes]:
    """Each row (or cell) as self-delimiting bytes; different ones give different bytes."""
    return list(map(marshal.dumps, items, repeat(MARSHAL_VERSION)))


def fingerprint(encoded: Iterable[bytes], kind: str) -> str:
    """One hash over all rows, hex: as a `list`, a `bag` (order ignored) or a `set` (duplicates ignored too)."""
    if kind == "set":
        encoded = set(encoded)
    ordered = encoded if kind == "list" else sorted(encoded)
    return blake2b(b"".join(ordered), digest_size=32).hexdigest()


def shown_cell(value: Cell, max_chars: int) -> str | int | float | None:
    """A cell that JSON can carry, cut to `max_chars`; blobs as hex text."""
    if isinstance(value, bytes):
        value = value[:max_chars].hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str) and len(value) > max_chars:
        return value[: max_chars - 1] + "…"
    return value


ColumnMark = tuple[str, str]


@dataclass(frozen=True)
class ComparisonRule:
    """What makes two results equal.

    `rows` is `list`, `bag` or `set`. `exact` cells are equal as in Python, others to nine significant digits.
    `any_column_order`: columns may be permuted. `keyed`: rows must also agree after each is sorted by its cells' text
    and type (a quirk of Spider's evaluator: 1 and 1.0 can differ in a row and agree alone). `text_errors` decides what
    happens to text that is not UTF-8: `replace` and `ignore` as in Python, `strict` fails.
    """

    rows: str = "bag"
    exact: bool = False
    any_column_order: bool = True
    keyed: bool = False
    text_errors: str = "replace"


@dataclass(frozen=True)
class ComparisonTarget:
    """A gold's result: its fingerprint, row count, and marks of its columns (only where columns may move).

    `keyed` is the fingerprint of the sorted rows, None if no cell of the gold is a float.
    """

    fingerprint: str
    row_count: int
    width: int
    marks: tuple[ColumnMark, ...] = ()
    keyed: str | None = None


def column_marks(rows: Sequence[Row]) -> list[ColumnMark]:
    """Two fingerprints per column: as a bag of cells and as a list of cells."""
    columns = [encode(column) for column in zip(*rows, strict=True)]
    return [(fingerprint(cells, "bag"), fingerprint(cells, "list")) for cells in columns]


def column_arrangements(mine: Sequence[ColumnMark], gold: Sequence[ColumnMark]) -> Iterator[list[int]]:
    """Orders of these columns whose bags agree with the gold's, column by column.

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


def matches_rearranged(
    rows: Sequence[Row], target: ComparisonTarget, kind: str, most: int, check: Callable[[], None]
) -> bool | None:
    """Whether some order of the columns gives the target; None if more than `most` orders would have to be tried.

    `check` is called between tries and may raise (the deadline).
    """
    if target.width < 2 or len(rows) != target.row_count or len(rows[0]) != target.width:
        return False
    mine = column_marks(rows)
    side = 1 if kind == "list" else 0
    # cheap, and refuses most results before any order is tried
    if sorted(mark[side] for mark in mine) != sorted(mark[side] for mark in target.marks):
        return False
    if kind == "list":  # columns that agree as lists agree together
        return True
    tries = 0
    for order in islice(column_arrangements(mine, target.marks), most):
        check()
        tries += 1
        if fingerprint(encode(map(itemgetter(*order), rows)), kind) == target.fingerprint:
            return True
    return False if tries < most else None


class Comparison:
    """One complete result of `width` columns. `check` may raise between steps (the deadline)."""

    def __init__(
        self, raw: Sequence[Row], encoded: Sequence[bytes], width: int, rule: ComparisonRule, check: Callable[[], None]
    ) -> None:
        self.raw, self.width, self.rule, self.check = raw, width, rule, check
        self.rows = canonical(raw, exact=rule.exact)
        self.wants_marks = False
        self.fingerprint = fingerprint(encoded if self.rows is raw else encode(self.rows), rule.rows)

    def leave_target(self, *, with_marks: bool) -> dict[str, Any]:
        movable = with_marks and self.rule.any_column_order and self.width > 1 and len(self.raw) > 0
        floats = self.rule.keyed and self.width > 1 and has_floats(self.raw)
        return {
            "marks": column_marks(self.rows) if movable else [],
            "keyed": sorted_cells_fingerprint(self.raw, self.rule) if floats else None,
        }

    def matches(self, target: ComparisonTarget, most: int) -> bool | None:
        """Whether the results are equal under the rule; None if that could not be settled.

        That happens after `most` orders of columns, or (`wants_marks`) when only the order of columns may differ and
        the target has no marks. Few golds need marks, so the first try goes without.
        """
        if self.fingerprint != target.fingerprint or self.width != target.width:
            if not self.rule.any_column_order or self.width != target.width or len(self.rows) != target.row_count:
                return False
            if self.width < 2 or not self.rows:
                return False
            if not target.marks:
                self.wants_marks = True
                return None
            found = matches_rearranged(self.rows, target, self.rule.rows, most, self.check)
            if found is not True:
                return found
        return not self.rule.keyed or self.keyed_agrees(target)

    def keyed_agrees(self, target: ComparisonTarget) -> bool:
        """Spider's quirk of sorted rows, for a result that is equal otherwise.

        It cannot fail without floats on either side. In `rows`, as in a gold without floats, every whole float is an
        integer.
        """
        if self.width < 2 or (target.keyed is None and not has_floats(self.raw)):
            return True
        gold = target.keyed if target.keyed is not None else sorted_cells_fingerprint(self.rows, self.rule)
        return sorted_cells_fingerprint(self.raw, self.rule) == gold


def sorted_cells_fingerprint(rows: Sequence[Row], rule: ComparisonRule) -> str:
    ordered = [tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell)))) for row in rows]
    return fingerprint(encode(canonical(ordered, exact=True)), "list" if rule.rows == "list" else "set")
