"""Results as bytes to compare: canonical cells, one fingerprint over all rows, and a cut-down view for people.

Everything works on whole lists of rows through functions written in C: a result of 20,000 rows costs about ten
milliseconds, where a loop over its cells would cost more than the query.
"""

import marshal
import math
from _blake2 import blake2b  # hashlib's own, without the import of OpenSSL that would slow every start of a child
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any

Cell = str | int | float | bytes | None
Row = tuple[Cell, ...]
MARSHAL_VERSION = 2  # without references and interning: equal cells give equal bytes, whatever else is in memory
NEAR_INTEGER = 1e-12
LARGEST_INTEGER = 2.0**63


def tolerant_float(value: float) -> int | float:
    """A whole number where the value is one (up to rounding noise), else nine significant digits.

    It passes through thirteen digits first, so that noise around a decimal of few digits cannot fall to two sides.
    """
    if not math.isfinite(value):
        return value
    nearest = round(value)
    if abs(value) < LARGEST_INTEGER and abs(value - nearest) <= NEAR_INTEGER * abs(value):
        return nearest
    return float(f"{float(f'{value:.13g}'):.9g}")


def exact_float(value: float) -> int | float:
    """Python's own equality as one form: 1.0 is 1, and no two numbers that differ become one."""
    return int(value) if value.is_integer() else value


def has_floats(rows: Iterable[Sequence[Any]]) -> bool:
    """Whether any cell is a float: only then two equal cells can have different forms."""
    return float in set(map(type, chain.from_iterable(rows)))


def canonical(rows: Sequence[Row], *, exact: bool) -> Sequence[Row]:
    """Rows whose equal cells have one form: 1 and 1.0 agree; NULL, '' and a blob never do."""
    if not has_floats(rows):
        return rows
    form = exact_float if exact else tolerant_float
    return [tuple(form(cell) if type(cell) is float else cell for cell in row) for row in rows]


def encode(items: Iterable[Any]) -> list[bytes]:
    """Each row (or cell) as bytes that say where they end; no two different ones give the same."""
    return list(map(marshal.dumps, items, repeat(MARSHAL_VERSION)))


def fingerprint(encoded: Iterable[bytes], kind: str) -> str:
    """One hash over all rows, hex: as a `list`, as a `bag` (order is nothing) or as a `set` (nor are duplicates)."""
    if kind == "set":
        encoded = set(encoded)
    ordered = encoded if kind == "list" else sorted(encoded)
    return blake2b(b"".join(ordered), digest_size=32).hexdigest()


def view_cell(value: Cell, max_chars: int) -> str | int | float | None:
    """A cell that JSON can carry, not longer than a person will read; blobs as hex text."""
    if isinstance(value, bytes):
        value = value[:max_chars].hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str) and len(value) > max_chars:
        return value[: max_chars - 1] + "…"
    return value
