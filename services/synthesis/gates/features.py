"""An example as the gates compare it: words of its question, the same masked, and the shape of its SQL."""

from dataclasses import dataclass

from services.synthesis.gates.schemas import SchemaFacts
from shared.contracts.records import Example
from shared.sql.english import split_words, stem
from shared.sql.tokens import SqlShape, read_pieces, sql_shape

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
    split_words: frozenset[str]
    content: frozenset[str]
    plain: tuple[str, ...]
    masked: tuple[str, ...]
    sql_shape: SqlShape
    tokens: frozenset[str]
    schema: SchemaFacts


def question_key(question: str) -> str:
    """Equal for questions that differ only in case, spaces or a closing mark."""
    return " ".join(question.lower().rstrip("?. ").split())


def features(example: Example, schema: SchemaFacts) -> Features:
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
