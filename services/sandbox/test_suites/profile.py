"""What a column looks like: its values, their form, and which columns determine it."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.sandbox.test_suites.schema import Row, Value, sort_key

DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([ T].*)?", re.ASCII | re.DOTALL)
DIGITS = re.compile(r"\d{1,18}", re.ASCII)
CLOSED_MOST = 12
CLOSED_REPEATS = 3  # cells per value, on average
# Pairs of values that are flags however rarely they repeat.
FLAGS = tuple(map(frozenset, ({"t", "f"}, {"y", "n"}, {"m", "f"}, {"yes", "no"}, {"true", "false"}, {"0", "1"})))
MOST_PLACES = 6  # decimals


@dataclass
class ColumnProfile:
    """`form` tells how text changes: `closed` (never), `date`, `digits`, `text`, `none` (no text, or no pattern).

    `values` are the distinct cells other than NULL, in order. `exact` and `stems` come from the constants.
    """

    values: list[Value]
    nulls: float
    form: str
    closed: bool
    fixed: bool
    keep: int
    low: float = 0.0
    high: float = 0.0
    places: int = 0
    numbers: list[int | float] = field(default_factory=list)
    exact: list[Value] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    text: str = ""  # all texts in lower case, a NUL on either side of each

    @property
    def kinds(self) -> set[type]:
        return set(map(type, self.values))


def profile_column(cells: Sequence[Value]) -> ColumnProfile:
    # the type is part of the key because 1 and 1.0 are equal
    counts = Counter((type(cell), cell) for cell in cells if cell is not None)
    values: list[Value] = sorted((value for _, value in counts), key=sort_key)
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float)]
    present = sum(counts.values())
    closed = is_closed(values, present)
    lengths = {len(text) for text in texts}
    found = ColumnProfile(
        values=values,
        nulls=1 - present / len(cells) if cells else 0.0,
        form="closed" if closed else form_of(texts),
        closed=closed,
        fixed=len(lengths) == 1 and len(texts) > 2,
        keep=common_start(texts) if len(texts) > 2 else 0,
        numbers=[n for n in numbers if abs(n) < float("inf")],
        text="\x00".join(["", *texts, ""]).lower() if texts else "",
    )
    measured = [int(text) for text in texts] if found.form == "digits" else found.numbers
    if measured:
        found.low, found.high = float(min(measured)), float(max(measured))
    if found.numbers:
        found.places = max(places(n) for n in found.numbers)
    return found


def common_start(texts: Sequence[str]) -> int:
    """Length of the common prefix: the smallest and the largest text differ soonest."""
    low, high = min(texts), max(texts)
    return next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def is_closed(values: Sequence[Value], present: int) -> bool:
    if len(values) < 2 or len(values) > CLOSED_MOST:
        return False
    names = frozenset(str(value).lower() for value in values)
    if any(names <= flags for flags in FLAGS):
        return True
    return all(isinstance(value, str) for value in values) and present >= CLOSED_REPEATS * len(values)


def form_of(texts: Sequence[str]) -> str:
    if not texts:
        return "none"
    if all(map(DATE.fullmatch, texts)):
        return "date"
    return "digits" if all(map(DIGITS.fullmatch, texts)) else "text"


def places(value: int | float) -> int:
    if isinstance(value, int) or value.is_integer():
        return 0
    text = repr(value)
    return MOST_PLACES if "e" in text else min(MOST_PLACES, len(text.partition(".")[2]))


def shape(text: str) -> str:
    return "".join("9" if c.isdigit() else "A" if c.isupper() else "a" if c.islower() else c for c in text)


def fits_shape(found: ColumnProfile, text: str) -> bool:
    """Whether a text could stand in the column: its length if that is fixed, the class of its first character."""
    own = [value for value in found.values if isinstance(value, str)]
    if found.form in ("date", "digits"):
        return any(shape(value) == shape(text) for value in own[:20])
    if found.fixed and len(text) != len(own[0]):
        return False
    return shape(text[:1]) in {shape(value[:1]) for value in own[:50]}


SURE = math.log(0.01)  # bound on the chance that the repeats agree at random
REPEATS = 3
GLANCE = 48
MOST_COLUMNS = 60  # per table; the work grows with the square


def find_dependencies(rows: Sequence[Row], skip: frozenset[int]) -> dict[int, tuple[int, ...]]:
    """For a column, the columns that determine it, as far as the rows are evidence.

    `skip` holds keys: what they determine needs no care. A determinant must repeat so often that agreement by chance is
    unlikely, given how often the values occur.
    """
    if len(rows) <= REPEATS:
        return {}
    width = len(rows[0])
    columns = [n for n in range(width) if n not in skip][:MOST_COLUMNS]
    codes = {n: encode([row[n] for row in rows]) for n in columns}
    distinct = {n: len(set(codes[n])) for n in columns}
    chance = {n: agreement(codes[n]) for n in columns}
    found: dict[int, list[int]] = {}
    for a in columns:
        repeats = sum(1 for code in codes[a] if code >= 0) - distinct[a]
        for b in columns:
            # a column with fewer values than another cannot determine it
            if a == b or distinct[b] < 2 or distinct[a] < distinct[b] or repeats < REPEATS:
                continue
            if repeats * chance[b] < SURE and determines(codes[a], codes[b]):
                found.setdefault(b, []).append(a)
    return {b: tuple(determinants) for b, determinants in found.items()}


def encode(cells: Sequence[object]) -> list[int]:
    """A number for each distinct cell, negative for NULL. Types count: 1 and 1.0 differ."""
    seen: dict[object, int] = {}
    return [-1 if cell is None else seen.setdefault((type(cell), cell), len(seen)) for cell in cells]


def agreement(codes: Sequence[int]) -> float:
    """Logarithm of the chance that two rows have the same cell."""
    total = len(codes)
    share = sum((n / total) ** 2 for n in Counter(codes).values())
    return math.log(share) if share < 1 else 0.0


def determines(a: Sequence[int], b: Sequence[int]) -> bool:
    # most pairs fail within the first rows
    for size in (GLANCE, len(a)):
        pairs = {pair for pair in zip(a[:size], b[:size], strict=True) if pair[0] >= 0}
        if len({first for first, _ in pairs}) != len(pairs):
            return False
    return True
