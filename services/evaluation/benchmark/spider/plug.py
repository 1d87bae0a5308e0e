"""Spider's `--plug_value`: a prediction is right if it is with the gold's values in some of its value slots.

From the rule of test-suite-sql-eval (parse.py): values are strings in quotes of either kind and bare numbers, LIMIT's
too; every assignment of the gold's values to the prediction's slots is tried.
"""

import re
from collections.abc import Iterator
from itertools import islice, product

TOKEN = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|\d*\.\d+|\w+|[<>!=]=|<>|\S""")
VALUE = re.compile(r"""['"].*|\d+|\d*\.\d+""", re.DOTALL)
MOST = 20_000  # six slots and five values; officially there is no end


def tokens_of(sql: str) -> list[str]:
    """The SQL in pieces; semicolons are dropped, as officially."""
    return [token for token in TOKEN.findall(sql) if token != ";"]


def is_value(token: str) -> bool:
    """Whether the piece is a value."""
    return VALUE.fullmatch(token) is not None


def plugged(prediction: str, gold: str) -> Iterator[str]:
    """The prediction with the gold's values in its slots: every assignment, `MOST` at the most.

    All other pieces are lower-cased, as officially. Nothing where the gold has no value or the prediction no slot.
    """
    values = sorted({token for token in tokens_of(gold) if is_value(token)})
    pieces = tokens_of(prediction)
    slots = [place for place, token in enumerate(pieces) if is_value(token)]
    lowered = [token if is_value(token) or token[0] in "'\"`" else token.lower() for token in pieces]
    if not values or not slots:
        return
    for chosen in islice(product(values, repeat=len(slots)), MOST):
        for place, value in zip(slots, chosen, strict=True):
            lowered[place] = value
        yield " ".join(lowered)
