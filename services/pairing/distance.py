"""How far two texts of SQL are from each other."""

from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from shared.sql.tokens import tokens


@lru_cache(maxsize=4096)
def said(sql: str) -> tuple[str, ...]:
    """The tokens that say something: no blanks, no comments, names in lower case."""
    return tuple(
        text.lower() if kind == "word" else text for kind, text in tokens(sql) if kind not in ("blank", "comment")
    )


def token_distance(one: str, other: str) -> int:
    """Levenshtein's distance over tokens: how many are put in, taken out or exchanged."""
    return int(Levenshtein.distance(said(one), said(other)))
