"""The gates of a collected set in their order: leakage, repeats, near-duplicates; then what is only marked."""

from collections.abc import Callable, Iterable

from services.synthesis.gates.duplicates import NEAR_QUESTION, NearDuplicates
from services.synthesis.gates.features import Features, features
from services.synthesis.gates.leakage import Tests
from services.synthesis.gates.schemas import NO_SCHEMA, SchemaFacts
from services.synthesis.gates.seen import Seen
from shared.contracts.records import Example
from shared.sql.agreement import find_disagreement

SchemaOf = Callable[[str], SchemaFacts]
LEAKED, DUPLICATE, NEAR_DUPLICATE = "leaked", "duplicate", "near_duplicate"
DISAGREES = "question_sql_disagree"


def no_schemas(_database_id: str) -> SchemaFacts:
    """Where no cards are at hand: questions and SQL alone."""
    return NO_SCHEMA


def imported(example: Example) -> bool:
    """Whether it comes from a stored data set."""
    return example.provenance.writer == "imported"


class Gate:
    """Refuses what stands in a test set and what was seen before; remembers what passed.

    `near`: the similarity of questions from which examples are near-duplicates; None turns that off. `given`: databases
    that were not invented here.
    """

    def __init__(
        self,
        tests: Iterable[Example],
        schema_of: SchemaOf = no_schemas,
        *,
        near: float | None = NEAR_QUESTION,
        given: Iterable[str] = (),
    ) -> None:
        self.schema_of, self.given = schema_of, frozenset(given)
        self.tests = Tests(tests, self.features)
        self.near = None if near is None else NearDuplicates(near)
        self.seen = Seen()

    def features(self, example: Example) -> Features:
        """What is compared of an example."""
        return features(example, self.schema_of(example.database_id))

    def reason(self, example: Example) -> tuple[str, str] | None:
        """The reason and its detail where an example is refused."""
        found = self.features(example)
        own = not imported(example) and example.database_id not in self.given
        leak = self.tests.leak(example, found, own=own)
        if leak is not None:
            return LEAKED, str(leak)
        if not self.seen.add(example.database_id, found.question):
            return DUPLICATE, "the question was asked on this database before"
        if self.near is not None and self.judged_by_likeness(example) and self.near.seen(scope(example), found):
            return NEAR_DUPLICATE, "almost the same question and skeleton, over the same names, came before"
        return None

    @staticmethod
    def judged_by_likeness(example: Example) -> bool:
        """What people wrote stays as they wrote it: only repeats are taken from it; and a test set stays whole."""
        return example.provenance.writer in ("grammar", "llm") and example.split in ("train", "selection")


def scope(example: Example) -> str:
    """Where near-duplicates are looked for: the part of the set, and the domain as its writer calls it."""
    return f"{example.split} {' '.join(example.domain.lower().split())}"


def flagged(example: Example) -> Example:
    """An imported example, marked where question and SQL disagree; what was written here passed that gate before."""
    if not imported(example) or find_disagreement(example.question, example.gold, example.evidence) is None:
        return example
    return example.model_copy(update={"flags": [*example.flags, DISAGREES]})
