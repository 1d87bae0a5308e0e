"""Literals of golds and candidates, where two queries may part ways, and the columns they belong to."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from services.sandbox.test_suites.profile import ColumnProfile, fits_shape
from services.sandbox.test_suites.schema import number_in, sort_key
from shared.sql.tokens import tokens

MAX_CONSTANTS = 64
MAX_CHARS = 100
MAX_TOKENS = 20_000
DIGITS = re.compile(r"\d+", re.ASCII)
OPERATORS = frozenset("=<>(,+-*/%|&!")
# Words after which a minus is a sign.
BEFORE_NUMBER = frozenset(
    ("select", "where", "and", "or", "not", "between", "in", "then", "else", "when", "by", "case", "having", "is", "on")
)

Constant = str | int | float
Token = tuple[str, str]


def extract_constants(sqls: Iterable[str]) -> list[Constant]:
    """Texts (also in double quotes, which may be names) and numbers, each once, the most frequent ones.

    Patterns of LIKE and GLOB give the stretches between their wildcards. What follows LIMIT and OFFSET, and the format
    of `strftime`, is no value. At most 64 constants of at most 100 characters, numbers first, in order.
    """
    counts: Counter[tuple[str, Constant]] = Counter()
    for sql in sqls:
        # the type is part of the key because 1 and 1.0 are equal
        counts.update({(type(value).__name__, value) for value in literals(sql)})
    frequent = sorted(counts, key=lambda key: (-counts[key], ordered(key)))[:MAX_CONSTANTS]
    return [value for _, value in sorted(frequent, key=ordered)]


def ordered(key: tuple[str, Constant]) -> tuple[bool, float, str, str]:
    kind, value = key
    return (True, 0.0, value, kind) if isinstance(value, str) else (False, float(value), "", kind)


def literals(sql: str) -> list[Constant]:
    stream = join_numbers([t for t in islice(tokens(sql), MAX_TOKENS) if t[0] not in ("blank", "comment")])
    found: list[Constant] = []
    bounding = False
    for place, (kind, text) in enumerate(stream):
        if kind == "word":
            bounding = text.lower() in ("limit", "offset")
        elif kind == "number" and not bounding:
            found += parse_number(text, negative(stream, place))
        elif kind == "quoted" and text[0] in "'\"":
            found += quoted_texts(text, stream[max(0, place - 2) : place])
    return [value for value in found if not isinstance(value, str) or 0 < len(value) <= MAX_CHARS]


def join_numbers(stream: Sequence[Token]) -> list[Token]:
    """Join the parts of a number (`1`, `.`, `5`); a word that begins with a digit is a number."""
    found: list[Token] = []
    for kind, text in stream:
        last = found[-1] if found else ("", "")
        if last[0] == "number" and not last[1].count(".") and text == ".":
            found[-1] = ("number", last[1] + ".")
        elif last[0] == "number" and continues(last[1], text):
            found[-1] = ("number", last[1] + text)
        else:
            found.append(("number" if kind == "word" and text[0].isdigit() else kind, text))
    return found


def continues(number_text: str, following: str) -> bool:
    if number_text[-1] in "eE":
        return following in ("+", "-")
    return number_text[-1] in "+-." and following[:1].isdigit()


def parse_number(text: str, minus: bool) -> list[Constant]:
    try:
        value: int | float = int(text) if DIGITS.fullmatch(text) and len(text) < 20 else float(text)
    except ValueError:
        return []
    if abs(value) >= (2**63 if isinstance(value, int) else 1e300):
        return []
    return [-value if minus else value]


def negative(stream: Sequence[Token], place: int) -> bool:
    if place == 0 or stream[place - 1][1] != "-":
        return False
    kind, text = stream[place - 2] if place > 1 else ("other", "(")
    return text in OPERATORS if kind == "other" else kind == "word" and text.lower() in BEFORE_NUMBER


def quoted_texts(quoted: str, before: Sequence[Token]) -> list[str]:
    content = quoted[1:-1].replace(quoted[0] * 2, quoted[0]) if len(quoted) > 1 else ""
    words = [text.lower() for _, text in before]
    if "strftime" in words or words[-1:] == ["x"]:  # a format, a blob
        return []
    if words[-1:] == ["glob"]:
        return re.split(r"[*?]+", content)
    if words[-1:] == ["like"] or "%" in content:
        return re.split(r"%+" if words[-1:] != ["like"] else r"[%_]+", content)
    return [content]


MAGNITUDE = 100.0  # how far a constant may be from a column, as a ratio
LARGEST = 2**63  # first integer that SQLite cannot hold


def usable_constants(constants: Iterable[Constant], most: int, chars: int) -> list[Constant]:
    numbers = (int(value) if isinstance(value, bool) else value for value in constants)
    kept = {(type(value).__name__, value) for value in numbers if holdable(value, chars)}
    return sorted((value for _, value in kept), key=sort_key)[:most]


def holdable(value: Constant, chars: int) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= chars and not any("\ud800" <= c <= "\udfff" or c == "\x00" for c in value)
    return abs(value) < LARGEST if isinstance(value, int) else math.isfinite(value)


def assign_constants(profiles: Sequence[ColumnProfile], constants: Iterable[Constant]) -> None:
    for constant in constants:
        if isinstance(constant, str):
            assign_text(profiles, constant)
        else:
            assign_number(profiles, constant)


def assign_text(profiles: Sequence[ColumnProfile], text: str) -> None:
    """Assign to columns that hold the text, then to those that hold it inside a longer one, then to those of its form.

    A column that has it in another case only does not get it: the case is part of the column's form.
    """
    # NUL stands on either side of each text, so this finds whole texts only
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
        assign_number([p for p in profiles if not p.text], number)


def assign_number(profiles: Sequence[ColumnProfile], number: int | float) -> None:
    """Assign to columns whose range has the number (extended on both sides by its width), else to those of its
    magnitude.
    """
    numeric = [p for p in profiles if p.numbers]
    homes = [p for p in numeric if p.low - spread(p) <= number <= p.high + spread(p)]
    for p in homes or [p for p in numeric if number > 0 and 1 / MAGNITUDE <= p.high / number <= MAGNITUDE]:
        if float not in p.kinds:  # integers on both sides of a fraction
            p.exact += [number] if isinstance(number, int) else [math.floor(number), math.ceil(number)]
        elif abs(number) < LARGEST:
            p.exact.append(float(number))
    if not isinstance(number, int):
        return
    for p in profiles:
        if p.form == "digits" and p.low - spread(p) <= number <= p.high + spread(p) and fits_shape(p, str(number)):
            p.exact.append(str(number))
        elif p.form == "date" and 1000 <= number <= 9999:
            p.stems.append(str(number))


def spread(p: ColumnProfile) -> float:
    return max(p.high - p.low, 1.0)
