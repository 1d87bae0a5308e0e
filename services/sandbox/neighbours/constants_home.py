"""Which constants belong into which column: by the values that are there, by form and by magnitude."""

import math
from collections.abc import Iterable, Sequence

from services.sandbox.neighbours.profile import Profile, fits_shape
from services.sandbox.neighbours.values import Value, number_in, order

Constant = str | int | float
MAGNITUDE = 100.0
LARGEST = 2**63


def usable(constants: Iterable[Constant], most: int, chars: int) -> list[Constant]:
    """Constants as a set in one order; what SQLite cannot hold is left out."""
    kept = {(type(value).__name__, value) for value in map(plain, constants) if holdable(value, chars)}
    return sorted((value for _, value in kept), key=order)[:most]


def plain(value: Constant) -> Constant:
    """A bool as the number that it is in SQL."""
    return int(value) if isinstance(value, bool) else value


def holdable(value: Constant, chars: int) -> bool:
    """Whether a constant is a finite number of 64 bits, or valid text that is not empty."""
    if isinstance(value, str):
        return 0 < len(value) <= chars and not any("\ud800" <= c <= "\udfff" or c == "\x00" for c in value)
    return abs(value) < LARGEST if isinstance(value, int) else math.isfinite(value)


def settle(profiles: Sequence[Profile], constants: Iterable[Constant]) -> None:
    """Give each constant to the columns where it belongs; one that is nowhere goes wherever its form fits."""
    for constant in constants:
        if isinstance(constant, str):
            settle_text(profiles, constant)
        else:
            settle_number(profiles, constant)


def settle_text(profiles: Sequence[Profile], text: str) -> None:
    """Columns that hold it, then columns that hold it inside a longer text, then columns of its form.

    Where a column has it in another case only, it is not put in: the column's own case is part of its form.
    """
    homes = [p for p in profiles if f"\x00{text.lower()}\x00" in p.text]
    within = [p for p in profiles if text.lower() in p.text and not p.closed and all(p is not home for home in homes)]
    likely = [] if homes or within else [p for p in profiles if p.text and not p.closed and fits_shape(p, text)]
    own = [p for p in homes if text in p.values]
    for p in (*own, *likely):
        p.exact.append(text)
    for p in within if len(text) > 1 or not homes else []:
        p.stems.append(text)
    for p in (*own, *likely):
        if p.form == "text":
            p.stems.append(text)
    number = number_in(text)
    if number is not None:
        settle_number([p for p in profiles if not p.text], number)


def settle_number(profiles: Sequence[Profile], number: int | float) -> None:
    """Columns in whose range it lies (twice as wide on either side), else columns of its magnitude."""
    numeric = [p for p in profiles if p.numbers]
    homes = [p for p in numeric if p.low - spread(p) <= number <= p.high + spread(p)]
    for p in homes or [p for p in numeric if number > 0 and 1 / MAGNITUDE <= p.high / number <= MAGNITUDE]:
        p.exact += as_kinds(p, number)
    if not isinstance(number, int):
        return
    for p in profiles:
        if p.form == "digits" and p.low - spread(p) <= number <= p.high + spread(p) and fits_shape(p, str(number)):
            p.exact.append(str(number))
        elif p.form == "date" and 1000 <= number <= 9999:
            p.stems.append(str(number))


def spread(p: Profile) -> float:
    """How far beyond its values a column may reach."""
    return max(p.high - p.low, 1.0)


def as_kinds(p: Profile, number: int | float) -> list[Value]:
    """The number as the column holds numbers: whole ones on both sides of a fraction."""
    if float in p.kinds:
        return [float(number)] if abs(number) < LARGEST else []
    return [number] if isinstance(number, int) else [math.floor(number), math.ceil(number)]
