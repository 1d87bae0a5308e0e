"""Literals of golds and candidates: values at which two queries may part ways."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from services.sandbox.text import tokens

MOST = 64
MOST_CHARS = 100
MOST_TOKENS = 20_000
DIGITS = re.compile(r"\d+", re.ASCII)
OPERATORS = frozenset("=<>(,+-*/%|&!")
BEFORE_NUMBER = frozenset(
    ("select", "where", "and", "or", "not", "between", "in", "then", "else", "when", "by", "case", "having", "is", "on")
)

Constant = str | int | float
Token = tuple[str, str]


def constants_of(sqls: Iterable[str]) -> list[Constant]:
    """Texts (also those in double quotes, which may be names) and numbers, each once, the most frequent ones.

    Patterns of LIKE and GLOB come as the stretches between their wildcards. What stands after LIMIT and OFFSET, and the
    format of `strftime`, is no value. At most 64 constants of at most 100 characters, numbers first, in order.
    """
    counts: Counter[tuple[str, Constant]] = Counter()
    for sql in sqls:
        counts.update({(type(value).__name__, value) for value in literals(sql)})
    frequent = sorted(counts, key=lambda key: (-counts[key], ordered(key)))[:MOST]
    return [value for _, value in sorted(frequent, key=ordered)]


def ordered(key: tuple[str, Constant]) -> tuple[bool, float, str, str]:
    """Numbers by size, then texts."""
    kind, value = key
    return (True, 0.0, value, kind) if isinstance(value, str) else (False, float(value), "", kind)


def literals(sql: str) -> list[Constant]:
    """Every literal of one text, in its order."""
    stream = joined([t for t in islice(tokens(sql), MOST_TOKENS) if t[0] not in ("blank", "comment")])
    found: list[Constant] = []
    bounding = False
    for place, (kind, text) in enumerate(stream):
        if kind == "word":
            bounding = text.lower() in ("limit", "offset")
        elif kind == "number" and not bounding:
            found += number(text, negative(stream, place))
        elif kind == "quoted" and text[0] in "'\"":
            found += texts(text, stream[max(0, place - 2) : place])
    return [value for value in found if not isinstance(value, str) or 0 < len(value) <= MOST_CHARS]


def joined(stream: Sequence[Token]) -> list[Token]:
    """Tokens with the parts of a number (`1`, `.`, `5`) made one; a word that begins with a digit is a number."""
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
    """Whether a fraction, an exponent's sign or its digits go on."""
    if number_text[-1] in "eE":
        return following in ("+", "-")
    return number_text[-1] in "+-." and following[:1].isdigit()


def number(text: str, minus: bool) -> list[Constant]:
    """The value of a number's text; nothing where it is none."""
    try:
        value: int | float = int(text) if DIGITS.fullmatch(text) and len(text) < 20 else float(text)
    except ValueError:
        return []
    if abs(value) >= (2**63 if isinstance(value, int) else 1e300):
        return []
    return [-value if minus else value]


def negative(stream: Sequence[Token], place: int) -> bool:
    """Whether a minus before a number is its sign, not a subtraction."""
    if place == 0 or stream[place - 1][1] != "-":
        return False
    kind, text = stream[place - 2] if place > 1 else ("other", "(")
    return text in OPERATORS if kind == "other" else kind == "word" and text.lower() in BEFORE_NUMBER


def texts(quoted: str, before: Sequence[Token]) -> list[str]:
    """The content of a quoted text, in stretches where it is a pattern."""
    content = quoted[1:-1].replace(quoted[0] * 2, quoted[0]) if len(quoted) > 1 else ""
    words = [text.lower() for _, text in before]
    if "strftime" in words or words[-1:] == ["x"]:  # a format, a blob
        return []
    if words[-1:] == ["glob"]:
        return re.split(r"[*?]+", content)
    if words[-1:] == ["like"] or "%" in content:
        return re.split(r"%+" if words[-1:] != ["like"] else r"[%_]+", content)
    return [content]
