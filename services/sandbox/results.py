"""Results as numbers to compare: canonical cells, hashes over all rows, and a cut-down view for people."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

Cell = str | int | float | bytes | None
NEAR_INTEGER = 1e-12
LARGEST_INTEGER = 2.0**63
BAG_MODULUS = 2**256
ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def canonical_float(value: float) -> int | float:
    """A whole number where the value is one (up to rounding noise), else nine significant digits.

    It passes through thirteen digits first, so that noise around a decimal of few digits cannot fall to two sides.
    """
    if not math.isfinite(value):
        return value
    nearest = round(value)
    if abs(value) < LARGEST_INTEGER and abs(value - nearest) <= NEAR_INTEGER * abs(value):
        return nearest
    return float(f"{float(f'{value:.13g}'):.9g}")


def canonical(value: Cell) -> Any:
    """A cell such that equal cells are equal as JSON: 1 and 1.0 agree; NULL, '' and a blob never do."""
    if isinstance(value, float):
        return canonical_float(value)
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    return value


def encode(row: Sequence[Any]) -> bytes:
    """A canonical row as bytes; no two different rows give the same."""
    return ENCODER.encode(row).encode("ascii")


def digest(data: bytes) -> int:
    """A 256-bit number; sums of these are compared where order does not matter."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=32).digest(), "big")


def finish_bag(total: int, rows: int) -> str:
    """The order-free hash, from the sum of the row digests and the number of rows."""
    return hashlib.blake2b(f"{total}:{rows}".encode(), digest_size=32).hexdigest()


class Tally:
    """Eats rows one by one; holds canonical rows only when asked to."""

    def __init__(self, *, hold: bool = False) -> None:
        self.rows = 0
        self.bytes = 0
        self.held: list[list[Any]] | None = [] if hold else None
        self._bag = 0
        self._ordered = hashlib.blake2b(digest_size=32)

    def add(self, row: Sequence[Cell]) -> None:
        """Count and hash one row."""
        cells = [canonical(cell) for cell in row]
        data = encode(cells)
        self.rows += 1
        self.bytes += len(data)
        self._ordered.update(data + b"\n")
        self._bag += digest(data)
        if self.held is not None:
            self.held.append(cells)

    def ordered_hash(self) -> str:
        """Equal for equal lists of rows."""
        return self._ordered.hexdigest()

    def bag_hash(self) -> str:
        """Equal for equal bags of rows: duplicates count, order does not."""
        return finish_bag(self._bag % BAG_MODULUS, self.rows)


def view_cell(value: Cell, max_chars: int) -> str | int | float | None:
    """A cell that JSON can carry, not longer than a person will read; blobs as hex text."""
    if isinstance(value, bytes):
        value = value[:max_chars].hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str) and len(value) > max_chars:
        return value[: max_chars - 1] + "…"
    return value
