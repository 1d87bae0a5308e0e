"""An example as the gates compare it: the words of its question, plain and masked, its SQL's shape, its schema."""

import re
from dataclasses import dataclass
from typing import TypeVar

from shared.catalog.databases import SchemaCard
from shared.contracts.records import Example
from shared.sql.english import split_words, stem
from shared.sql.tokens import SqlShape, read_pieces, sql_shape

T = TypeVar("T")
LEAST_COLUMNS = 5
# Share of equal column names that makes a copy (docs/decisions/0012-decontamination.md).
NEAR_SCHEMA = 0.6
# Words inside camelCase, runs of capitals, numbers.
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
# Parts of a declared type and the letter of its kind.
KINDS = (("INT", "i"), ("CHAR", "t"), ("TEXT", "t"), ("REAL", "n"), ("FLOA", "n"), ("DOUB", "n"), ("NUM", "n"))


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """`columns`: names in lower case without blanks and underscores. `words`: lemmas of all names.

    `form`: for each table how many columns of which kind, keys and foreign keys, sorted: names play no part in it.
    `size`: how many columns there are.
    """

    columns: frozenset[str]
    words: frozenset[str]
    form: str
    size: int = 0

    def near(self, other: "SchemaFacts") -> bool:
        """Whether two schemas are copies, whatever their tables are called."""
        if min(len(self.columns), len(other.columns)) < LEAST_COLUMNS:
            return False
        return jaccard(self.columns, other.columns) >= NEAR_SCHEMA


NO_SCHEMA = SchemaFacts(frozenset(), frozenset(), "")


def jaccard(one: frozenset[T], other: frozenset[T]) -> float:
    """1 for two empty sets."""
    shared = len(one & other)
    total = len(one) + len(other) - shared
    return shared / total if total else 1.0


def schema_facts(card: SchemaCard) -> SchemaFacts:
    names = [column.name for table in card.tables for column in table.columns]
    every = [*names, *(table.name for table in card.tables)]
    forms = []
    for table in card.tables:
        letters = [next((letter for part, letter in KINDS if part in one.type.upper()), "o") for one in table.columns]
        kinds = sorted(letter + "k" * one.primary_key for letter, one in zip(letters, table.columns, strict=True))
        forms.append(f"{''.join(kinds)}>{len(table.foreign_keys)}")
    return SchemaFacts(
        columns=frozenset(re.sub(r"[\s_]+", "", name.lower()) for name in names),
        words=frozenset(stem(part.lower()) for name in every for part in PART.findall(name)),
        form=" ".join(sorted(forms)),
        size=len(names),
    )


MASK = "_"
STOP_LIST = """
a an the of in on at to for from by with and or is are was were be been do does did have has had having that which who
whom whose what when where how there their them they it its this these those we our you your i me my us can could would
will show list give find return tell display get please name names each every all any as than then not no nor into out
up so if also both between among per one ones some such only other another same different distinct about s t
"""
STOP_WORDS = frozenset(STOP_LIST.split())


@dataclass(frozen=True, slots=True)
class Features:
    """`words`: lemmas of the question; `content`: those that are no stop words. `plain`: the lemmas in order, numbers
    and literals of the SQL masked; `masked`: names of the schema too. `tokens`: the named SQL's.
    """

    database_id: str
    question: str
    words: frozenset[str]
    content: frozenset[str]
    plain: tuple[str, ...]
    masked: tuple[str, ...]
    shape: SqlShape
    tokens: frozenset[str]
    schema: SchemaFacts


def question_key(question: str) -> str:
    """Equal for questions that differ only in case, spaces or a closing mark."""
    return " ".join(question.lower().rstrip("?. ").split())


def extract_features(example: Example, schema: SchemaFacts) -> Features:
    """The features of one example; about 0.15 ms."""
    found = split_words(example.question)
    lemmas = [stem(word) for word in found]
    form = sql_shape(example.gold)
    literals = {
        word for piece in read_pieces(example.gold) if piece.kind == "value" for word in split_words(piece.text)
    }
    plain = [
        MASK if word in literals or word[0].isdigit() else short for word, short in zip(found, lemmas, strict=True)
    ]
    ordinary = [word in STOP_WORDS for word in found]
    return Features(
        database_id=example.database_id,
        question=question_key(example.question),
        words=frozenset(lemmas),
        content=frozenset(one for one, stop in zip(lemmas, ordinary, strict=True) if not stop),
        plain=tuple(plain),
        masked=masked(plain, ordinary, schema),
        shape=form,
        tokens=frozenset(form.named.split()),
        schema=schema,
    )


def masked(plain: list[str], ordinary: list[bool], schema: SchemaFacts) -> tuple[str, ...]:
    """The question's lemmas with what belongs to its database masked; a run of masks is one."""
    result: list[str] = []
    for short, stop in zip(plain, ordinary, strict=True):
        if stop or (short != MASK and short not in schema.words):
            result.append(short)
        elif not result or result[-1] != MASK:
            result.append(MASK)
    return tuple(result)
