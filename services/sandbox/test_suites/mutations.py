"""Values near a value, in its form: the same class, length, case, date format, number of decimals."""

from datetime import date, timedelta
from random import Random

LARGEST = 2**63 - 1
DAYS = (1, 1, 7, 30, 365)


def near_number(value: int | float, places: int, low: float, high: float, chance: Random) -> int | float:
    """A little above or below, of the same kind; never below zero where the column is not."""
    step = chance.choice((1, 1, 2, 3)) * (1 if isinstance(value, int) else 10.0**-places)
    if high - low > 1000 * step and chance.random() < 0.3:
        step = type(value)((high - low) / 50)
    moved = value + step if chance.random() < 0.5 else value - step
    if low >= 0 > moved:
        moved = value + step
    return fitted(moved, places)


def between(a: int | float, b: int | float, places: int) -> int | float:
    """The middle of two values of a column, of the first one's kind."""
    middle = a / 2 + b / 2
    return fitted(int(middle) if isinstance(a, int) and abs(middle) < 2**53 else middle, places)


def fitted(value: int | float, places: int) -> int | float:
    """Within SQLite's integers, or with so many decimals."""
    if isinstance(value, int):
        return max(-LARGEST, min(LARGEST, value))
    return round(value, places)


def near_date(text: str, chance: Random) -> str:
    """Some days before or after; what follows the date stays."""
    days = chance.choice(DAYS) * chance.choice((1, -1))
    try:
        return (date.fromisoformat(text[:10]) + timedelta(days=days)).isoformat() + text[10:]
    except (ValueError, OverflowError):
        return text


def near_digits(text: str, fixed: bool, chance: Random) -> str:
    """Text of digits as a number, one or two up or down, with as many digits where all have as many."""
    moved = str(max(0, int(text) + chance.choice((1, 2, -1, -2))))
    if fixed or text.startswith("0"):
        moved = moved.zfill(len(text))
        return moved if len(moved) == len(text) else text
    return moved


def near_text(text: str, keep: int, chance: Random) -> str:
    """One letter changed for another of its case, or the last digit; the first `keep` characters stay."""
    letters = [n for n, c in enumerate(text) if n >= keep and c.isascii() and c.isalpha()]
    digits = [n for n, c in enumerate(text) if n >= keep and c.isascii() and c.isdigit()]
    if not letters and not digits:
        return text
    place = chance.choice(letters) if letters and (not digits or chance.random() < 0.7) else digits[-1]
    first, count = ("0", 10) if text[place].isdigit() else ("a", 26) if text[place].islower() else ("A", 26)
    other = chr(ord(first) + (ord(text[place]) - ord(first) + 1 + chance.randrange(count - 1)) % count)
    return text[:place] + other + text[place + 1 :]


def shape(text: str) -> str:
    """The class of each character: what must agree for two texts to be of one format."""
    return "".join("9" if c.isdigit() else "A" if c.isupper() else "a" if c.islower() else c for c in text)


def containing(stem: str, own: str, fixed: bool, chance: Random) -> str:
    """A text in which `stem` stands at the start, at the end or inside; of the length of `own` where that is fixed."""
    if fixed:
        over = stem + own[len(stem) :]
        return over if shape(over) == shape(own) else own
    cut = chance.randint(0, len(own))
    return chance.choice((stem + own[cut:], own[:cut] + stem, own[:cut] + stem + own[cut:]))
