"""SQL text to the tokens that the official Spider evaluator sees.

Source: process_sql.tokenize of taoyds/test-suite-sql-eval, which splits with NLTK's word tokeniser. Every quoted
literal is one token in its own case; everything else is lower-cased; `! =`, `> =` and `< =` are joined.
"""

import re
from collections.abc import Callable
from functools import partial

COMPARED = ("!", ">", "<")
# One pass gives what the ordered rules give, unless the text holds one of these.
SLOW_MARKS = (",,", ",:", ":,", "::", "__val_", "cannot", "gimme", "gonna", "gotta", "lemme", "wanna")
CLOSERS = ")]}> \t\n\r\f\v\x1c\x1d\x1e\x1f"
LITERAL = re.compile(r'"[^"]*"')
ONE_PASS = re.compile(
    r"""[;@#$%&?!*\[\](){}<>]|``?|--|\.{2,}|[,:](?!\d)"""
    r"""|(?:"[^"]*"|[^\s;@#$%&?!*\[\](){}<>`".,:\-]+|-(?!-)|\.(?!\.)|[,:](?=\d))+"""
)
# NLTK's rules in NLTK's order, for text that has no quotes left; the order decides `a,,b` and `x..`.
ORDERED = [
    (re.compile(r"([«“‘„]|``?)"), r" \1 "),
    (re.compile(r"([^.])(\.)([\])}>»”’ ]*+)\s*$"), r"\1 \2 \3 "),
    (re.compile(r"([:,])(\D)"), r" \1 \2"),
    (re.compile(r"([:,])$"), r" \1 "),
    (re.compile(r"(\.{2,})"), r" \1 "),
    (re.compile(r"([;@#$%&\u2012-\u2015])"), r" \1 "),
    (re.compile(r"([^.])(\.)([\])}>]*)\s*$"), r"\1 \2\3 "),
    (re.compile(r"([?!*\[\](){}<>])"), r" \1 "),
    (re.compile(r"--"), " -- "),
    (re.compile(r"([»”’])"), r" \1 "),
    (re.compile(r"(?i)\b(can)(not)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(gim|lem)(me)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(gon)(na)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(got)(ta)\b"), r" \1 \2 "),
    (re.compile(r"(?i)\b(wan)(na)(?=\s|$)"), r" \1 \2 "),
]


class OddQuotesError(ValueError):
    """The text has an odd number of quote characters."""


def tokenise(sql: str) -> list[str]:
    """The official tokens of `sql`. Raises OddQuotesError; the official code asserts there."""
    text = sql.replace("'", '"')
    if text.count('"') % 2:
        raise OddQuotesError("odd number of quotes")
    return joined(one_pass(text) or by_ordered_rules(text))


def one_pass(text: str) -> list[str] | None:
    """Tokens by one scan; None where only the ordered rules are sure to be right."""
    lowered = text.lower()
    if not text.isascii() or text.rstrip(CLOSERS).endswith(".") or any(mark in lowered for mark in SLOW_MARKS):
        return None
    tokens: list[str] = ONE_PASS.findall(text)
    for place, token in enumerate(tokens):
        if '"' not in token:
            tokens[place] = token.lower()
        elif LITERAL.fullmatch(token) is None:  # a literal glued to a word: its text is lost officially
            return None
    return tokens


def by_ordered_rules(text: str) -> list[str]:
    """Tokens by the rules one after the other, with each literal behind a key as the official code hides it."""
    literals: dict[str, str] = {}
    hide: Callable[[re.Match[str]], str] = partial(hidden, literals)
    text = LITERAL.sub(hide, text)
    for rule, spaced in ORDERED:
        text = rule.sub(spaced, text)
    return [literals.get(token, token) for token in map(str.lower, text.split())]


def hidden(literals: dict[str, str], match: re.Match[str]) -> str:
    """The key that stands for a literal; it is made of word characters, so it sticks to letters beside it."""
    key = f"__val_{match.start()}_{match.end() - 1}__"
    literals[key] = match.group()
    return key


def joined(tokens: list[str]) -> list[str]:
    """`tokens` with each `=` joined to a `!`, `>` or `<` right before it."""
    if "=" not in tokens:
        return tokens
    found: list[str] = []
    before = ""
    for token in tokens:
        if token == "=" and before in COMPARED:
            found[-1] = before + "="
        else:
            found.append(token)
        before = token
    return found
