"""Numbers, dates and word forms of English questions, for finding the literals of SQL in them."""

import re
from functools import lru_cache

UNIT_LIST = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
ORDINAL_LIST = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
MONTH_LIST = "january february march april may june july august september october november december"
TEN_LIST = "twenty thirty forty fifty sixty seventy eighty ninety"
UNITS, TENS, ORDINALS, MONTHS = (text.split() for text in (UNIT_LIST, TEN_LIST, ORDINAL_LIST, MONTH_LIST))
SCALES = {"hundred": 100, "thousand": 1_000, "k": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
SAID = {"a": 1, "an": 1, "once": 1, "single": 1, "twice": 2, "both": 2, "couple": 2, "pair": 2, "double": 2, "half": 2}
SAID |= {"thrice": 3, "triple": 3, "dozen": 12, "multiple": 2, "several": 2, "no": 0, "none": 0, "any": 0}
VALUES = {word: value for value, word in enumerate(UNITS)}
VALUES |= {word: 10 * (place + 2) for place, word in enumerate(TENS)}
VALUES |= {word: place + 1 for place, word in enumerate(ORDINALS)}
VALUES |= SAID

WORD = re.compile(r"[^\W\d_]+|\d[\d,]*(?:\.\d+)?")
ENDINGS = re.compile(r"(?:ies|ied|ing|ers|er|es|ed|ly|s|y|e)$")


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Plural and singular, or `cancelled` and `cancels`, mostly have the same stem."""
    if len(word) <= 3 or not word.isalpha():
        return word
    short = ENDINGS.sub("", word)
    short = short if len(short) >= 3 else word  # too short to tell words apart
    return short[:-1] if len(short) > 3 and short[-1] == short[-2] else short


def split_words(text: str) -> list[str]:
    return [piece.rstrip(",").replace(",", "") for piece in WORD.findall(text.lower())]


def parse_digits(word: str) -> float | None:
    try:
        return float(word) if word[:1].isdigit() else None
    except ValueError:
        return None


def spoken_numbers(found: list[str]) -> set[float]:
    """Every number in a list of words, including `twenty five` and `3 thousand`."""
    values: set[float] = set()
    run: float | None = None
    for place, word in enumerate(found):
        value = parse_digits(word)
        if value is None:
            value = VALUES.get(word)
        if value is not None:
            # Only a word for tens takes the unit after it: `twenty five` is one number, `20 5` is two.
            tens = run is not None and run >= 20 and run % 10 == 0 and value < 10 and found[place - 1] in TENS
            run = run + value if tens and run is not None else value
            values |= {value, run}
        elif word in SCALES and run is not None:
            run *= SCALES[word]
            values.add(run)
        elif word in MONTHS:
            values.add(MONTHS.index(word) + 1)
        elif word != "and":
            run = None
    return values
