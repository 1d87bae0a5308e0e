"""Whether a question and its SQL mention the same values: literals of one appear in the other. By token.

Tolerant on purpose: a right example that is dropped is lost, while a wrong one has further gates before it. Numbers
agree with digits, number words, thousands, percents and the number next to them (`more than`, `at least`); texts with
any form of one of their words, their initials, or a common prefix; dates with their parts.
"""

import re
from dataclasses import dataclass

from shared.sql.english import parse_digits, split_words, spoken_numbers, stem
from shared.sql.tokens import SqlPiece, read_pieces

QUOTED = re.compile(r"(?<!\w)'((?:[^'\n]|'(?=\w)){1,80})'(?!\w)|\"([^\"\n]{1,80})\"|“([^”\n]{1,80})”|‘([^’\n]{1,80})’")
FORMATS = frozenset(
    ("strftime", "printf", "date", "datetime", "round", "substr", "replace", "instr", "iif", "julianday")
)
SCALES = (100, 0.01, 1_000, 0.001, 1_000_000, 0.000_001)
SMALL = frozenset((0.0, 1.0))  # count as mentioned in any text
FLAGS = frozenset(("yes", "no", "true", "false", "null", "none", "usa", "now", "male", "female"))
COMMON_START = 4  # letters that two forms of a word share
YEARS = range(1000, 2101)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A literal that only one side has; `side` is that side."""

    side: str
    literal: str

    def __str__(self) -> str:
        other = "question" if self.side == "SQL" else "SQL"
        return f"the {self.side} speaks of {self.literal[:80]!r}, and the {other} does not"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words and numbers of a text."""

    words: list[str]
    lemmas: frozenset[str]
    numbers: frozenset[float]
    joined: str

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        found = split_words(text)
        return cls(found, frozenset(map(stem, found)), frozenset(spoken_numbers(found)), "".join(found))


def find_disagreement(question: str, sql: str, evidence: str | None = None) -> Disagreement | None:
    """The first literal that the other side lacks, or None. `evidence` counts as part of the question."""
    asked = Vocabulary.of(f"{question} {evidence or ''}")
    for literal in compared_literals(sql):
        if not mentions_literal(asked, literal):
            return Disagreement("SQL", literal)
    # Names of columns count as words: `birthYear` and `birth_year` are split.
    told = Vocabulary.of(re.sub(r"[_]+|(?<=[a-z])(?=[A-Z])", " ", sql))
    for literal in question_literals(question):
        if not mentions_literal(told, literal):
            return Disagreement("question", literal)
    return None


def compared_literals(sql: str) -> list[str]:
    """Values that rows are compared with: no formats, and no arguments of formatting functions."""
    pieces = read_pieces(sql)
    return [piece.text for place, piece in enumerate(pieces) if piece.kind == "value" and is_compared(pieces, place)]


def is_compared(pieces: list[SqlPiece], place: int) -> bool:
    depth = 0
    # A bounded look back keeps the cost linear; the nearest bracket or clause decides.
    for piece in reversed(pieces[max(0, place - 12) : place]):
        if piece.text == ")" and piece.kind == "sign":
            depth += 1
        elif piece.text == "(" and piece.kind == "sign":
            depth -= 1
        elif depth < 0 and piece.kind in ("word", "name"):
            return piece.text not in FORMATS
        elif depth < 0 or piece.text in ("where", "and", "having"):
            break
    before = pieces[place - 1].text if place else ""
    return before not in ("/", "+", "then", "else")


def question_literals(question: str) -> list[str]:
    quoted = ["".join(groups) for groups in QUOTED.findall(question)]
    rest = split_words(QUOTED.sub(" ", question))
    digits = [word for word in rest if (value := parse_digits(word)) is not None and value not in SMALL]
    return [*quoted, *digits]


def mentions_literal(vocabulary: Vocabulary, literal: str) -> bool:
    value = parse_number(literal)
    if value is not None:
        return mentions_number(vocabulary, value)
    parts = split_words(literal)
    if not parts or len(literal.strip()) <= 2 or parts[0] in FLAGS:
        return True  # flags, initials, and patterns of wildcards only
    # Half of the words are enough, because questions shorten names.
    if 2 * sum(mentions_word(vocabulary, part) for part in parts) >= len(parts):
        return True
    return mentions_initials(vocabulary, "".join(parts)) or "".join(part[0] for part in parts) in vocabulary.words


def parse_number(literal: str) -> float | None:
    try:
        return float(literal.strip().replace(",", ""))
    except ValueError:
        return None


def mentions_number(vocabulary: Vocabulary, value: float) -> bool:
    """Also true for the number next to it (`more than`), and for the number in percents or thousands."""
    if value in SMALL:
        return True
    near = (value, value - 1, value + 1, *(scale * value for scale in SCALES))
    return any(one in vocabulary.numbers for one in near) or (
        len(text := f"{value:g}") > 2 and text in vocabulary.joined
    )


def mentions_word(vocabulary: Vocabulary, part: str) -> bool:
    value = parse_digits(part)
    if value is not None:
        return value in vocabulary.numbers or part in vocabulary.joined
    if stem(part) in vocabulary.lemmas or (len(part) > 2 and part in vocabulary.joined):
        return True
    start = part[:COMMON_START]
    return len(start) == COMMON_START and any(word.startswith(start) for word in vocabulary.words)


def mentions_initials(vocabulary: Vocabulary, text: str) -> bool:
    letters = "".join(word[0] for word in vocabulary.words)
    return 2 <= len(text) <= 6 and text in letters
