"""Leakage: is an example a copy or a paraphrase of a test question, or does it lie on a copy of a test's schema?

No sign counts alone. Skeletons are common (842 of Spider dev's 1,034 occur in Spider train), and paraphrases share few
words. So a question that is close, or close when masked, counts where the SQL or the schema is close too
(docs/decisions/0012-decontamination.md has the measurements).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from services.synthesis.gates.features import Features, SchemaFacts, jaccard
from shared.contracts.records import Example

# Jaccard similarities: of the questions' lemmas, of their content words, of pairs in their masked forms; and the sum
# of lemmas, masked pairs and SQL tokens.
SAME_SQL_WORDS = 0.3
CLOSE_CONTENT = 0.7
CLOSE_ON_COPY = 1.8
SAME_SLOTS = 0.85  # the least similarity of two SQL that differ in names alone
LEAST_CONTENT = 3
CLOSE_MASKED = 0.5
LEAST_FORM = 6  # fewer columns have a form that says nothing
KEPT_DATABASES = 4096  # remembered results of `near_schemas`


@dataclass(frozen=True, slots=True)
class Leak:
    """The sign that gave it away (`question`, `gold`, `schema`, …) and the test question or database that it is of."""

    sign: str
    of: str

    def __str__(self) -> str:
        return f"{self.sign}: {self.of[:200]}"


def bigram_similarity(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    # Empty strings mark the ends, so that the first and the last word count as pairs too.
    return jaccard(frozenset(pairwise(("", *one, ""))), frozenset(pairwise(("", *other, ""))))


def combined_similarity(one: Features, other: Features) -> float:
    """0 to 3: questions in words, questions when masked, and SQL."""
    words = jaccard(frozenset(one.plain), frozenset(other.plain))
    sql = jaccard(one.tokens, other.tokens)
    if one.shape.slots == other.shape.slots:
        sql = max(sql, SAME_SLOTS)
    return words + bigram_similarity(one.masked, other.masked) + sql


def gold_key(example: Example) -> tuple[str, str]:
    """Equal for golds on one database that differ only in case, spaces or a closing semicolon."""
    return example.database_id, " ".join(example.gold.lower().rstrip("; ").split())


class TestSetIndex:
    """The questions of the test sets, indexed by every form that a copy can have."""

    def __init__(self, examples: Iterable[Example], features_of: Callable[[Example], Features]) -> None:
        self.questions: dict[str, Features] = {}
        self.golds: dict[tuple[str, str], str] = {}
        self.databases: set[str] = set()
        self.named: dict[str, list[Features]] = defaultdict(list)
        self.slots: dict[str, list[Features]] = defaultdict(list)
        self.by_database: dict[str, list[Features]] = defaultdict(list)
        self.schemas: dict[str, SchemaFacts] = {}
        self._near: dict[str, list[str]] = {}
        for example in examples:
            self.add(example, features_of(example))

    def add(self, example: Example, found: Features) -> None:
        self.questions.setdefault(found.question, found)
        self.golds.setdefault(gold_key(example), example.question)
        self.databases.add(example.database_id)
        self.named[found.shape.named].append(found)
        self.slots[found.shape.slots].append(found)
        self.by_database[example.database_id].append(found)
        self.schemas[example.database_id] = found.schema

    def near_schemas(self, found: Features) -> list[str]:
        """Test databases of which the example's database is a copy, whatever its name."""
        known = self._near.get(found.database_id)
        if known is None:
            known = [name for name, schema in self.schemas.items() if found.schema.near(schema)]
            if found.database_id in self.databases and found.database_id not in known:
                known.append(found.database_id)
            if len(self._near) >= KEPT_DATABASES:
                self._near.clear()
            self._near[found.database_id] = known
        return known

    def find_leak(self, example: Example, found: Features, *, invented: bool) -> Leak | None:
        """How an example leaks, or None.

        `invented`: it was written here, schema and all. What comes on a given database (of an imported dataset or of a
        user) may share it with the tests: there, another question on the same rows is no leak.
        """
        if found.question in self.questions:
            return Leak("question", self.questions[found.question].question)
        if (of := self.golds.get(gold_key(example))) is not None:
            return Leak("gold", of)
        if found.database_id in self.databases:
            return Leak("database", found.database_id) if invented else self.on_shared(found)
        near = self.near_schemas(found)
        if invented and near:
            return Leak("schema", near[0])
        return self.by_sql(found) or self.on_copy(found, near) or self.by_skeleton(found) or self.by_mask(found)

    def on_shared(self, found: Features) -> Leak | None:
        """On a test's own database: the same words in any order, and a SQL that differs in literals at most."""
        for test in self.named.get(found.shape.named, ()):
            if test.database_id == found.database_id and test.words == found.words:
                return Leak("same words", test.question)
        return None

    def by_sql(self, found: Features) -> Leak | None:
        """The same SQL except for literals and for names that a copy would change. Then a few shared words are enough
        to refuse an example.
        """
        for test in self.named.get(found.shape.named, ()):
            if jaccard(frozenset(found.plain), frozenset(test.plain)) >= SAME_SQL_WORDS:
                return Leak("same SQL", test.question)
        return None

    def on_copy(self, found: Features, near: list[str]) -> Leak | None:
        """On a copy of a test's schema: close enough in words, in the masked question and in the SQL together."""
        for name in near:
            for test in self.by_database[name]:
                if combined_similarity(found, test) >= CLOSE_ON_COPY:
                    return Leak("near question and SQL on its schema", test.question)
        return None

    def by_skeleton(self, found: Features) -> Leak | None:
        """A close question whose SQL has the same skeleton, on whatever schema."""
        for test in self.slots.get(found.shape.slots, ()):
            if len(test.content) >= LEAST_CONTENT and jaccard(found.content, test.content) >= CLOSE_CONTENT:
                return Leak("near question with its skeleton", test.question)
        return None

    def by_mask(self, found: Features) -> Leak | None:
        """A close masked question and the same skeleton on a schema of the same form: all names were changed."""
        if found.schema.size < LEAST_FORM:
            return None
        for test in self.slots.get(found.shape.slots, ()):
            if test.schema.form == found.schema.form and bigram_similarity(found.masked, test.masked) >= CLOSE_MASKED:
                return Leak("masked question on a schema of its form", test.question)
        return None
