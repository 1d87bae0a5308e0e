"""Collects verified examples into a dataset: through the gates, in shard order, without holding them in memory.

Order of arrival changes nothing, because shards are read in order. What stays in memory grows by some hundred bytes an
example: signatures of what was seen, and places of what was kept.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from services.synthesis.gates.duplicates import NEAR_QUESTION, NearDuplicates, SeenTexts
from services.synthesis.gates.features import NO_SCHEMA, Features, SchemaFacts, extract_features
from services.synthesis.gates.leakage import TestSetIndex
from shared.contracts.records import Example, RejectedExample, WrittenExample
from shared.sql.agreement import find_disagreement
from shared.sql.spider.hardness import matches_level
from shared.storage.records import Spool

SchemaOf = Callable[[str], SchemaFacts]
LEAKED, DUPLICATE, NEAR_DUPLICATE, HELD_BACK = "leaked", "duplicate", "near_duplicate", "held_back"
DISAGREES = "question_sql_disagree"


@dataclass(slots=True)
class CollectedDataset:
    """What was kept, and how many were refused why. `examples`, `selection` and `rejected` lie on disk.

    read = examples + selection + the counts in `reasons` + `surplus` (past the limit). `beside_tests`: kept imported
    examples on a database that a test set uses too, with other questions and golds. `levels`: examples by (level asked
    for, hardness measured). `flags`: by what was found and not refused.
    """

    examples: Sequence[Example] = field(default_factory=lambda: Spool(Example))
    selection: Sequence[Example] = field(default_factory=lambda: Spool(Example))
    rejected: Spool[RejectedExample] = field(default_factory=lambda: Spool(RejectedExample))
    reasons: Counter[str] = field(default_factory=Counter)
    levels: Counter[tuple[str, str]] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    read: int = 0
    surplus: int = 0
    beside_tests: int = 0

    @property
    def duplicates(self) -> int:
        return self.reasons[DUPLICATE]

    @property
    def near_duplicates(self) -> int:
        return self.reasons[NEAR_DUPLICATE]

    @property
    def leaked(self) -> int:
        return self.reasons[LEAKED]

    @property
    def held_back(self) -> int:
        return self.reasons[HELD_BACK]

    @property
    def as_asked(self) -> int:
        return sum(count for (level, measured), count in self.levels.items() if matches_level(level, measured))

    def measured(self, hardness: str) -> int:
        return sum(count for (_, measured), count in self.levels.items() if measured == hardness)

    def refuse(self, example: Example, reason: str, detail: str) -> None:
        self.reasons[reason] += 1
        self.rejected.append(RejectedExample(reason=reason, detail=detail, written=to_written(example), gate="collect"))


def to_written(example: Example) -> WrittenExample:
    """The example as its writer left it, on its stored database."""
    shared = {name: getattr(example, name) for name in WrittenExample.model_fields if name in Example.model_fields}
    return WrittenExample.model_validate({**shared, "sql": example.gold})


def collect(
    verified: Iterable[Example],
    refused: Iterable[Example],
    limit: int | None,
    *,
    schema_of: SchemaOf = lambda _database_id: NO_SCHEMA,
    near: float | None = NEAR_QUESTION,
    given: Iterable[str] = (),
) -> CollectedDataset:
    """Examples in order, without duplicates and test questions. The training part is cut to `limit`.

    `schema_of` gives the facts of a database by its id. `near` is the similarity of near-duplicates (None: they stay).
    `given` are databases that were not invented here.
    """
    gate, dataset = Gate(refused, schema_of, near=near, given=given), CollectedDataset()
    train, selection = Spool(Example), Spool(Example)
    for example in verified:
        dataset.read += 1
        if (refusal := gate.reason(example)) is not None:
            dataset.refuse(example, *refusal)
        else:
            (selection if example.split == "selection" else train).append(flag_disagreement(example))
    # Only after the last example are all databases of the selection split known.
    train = hold_back(dataset, train, selection)
    # The limit counts what training gets, so it comes after all gates.
    if limit is not None and len(train) > limit:
        dataset.surplus = len(train) - limit
        train = train[:limit]
    dataset.examples, dataset.selection = train, selection
    for example in train:
        dataset.levels[example.level, example.measured or example.hardness or "unmeasured"] += 1
        dataset.flags.update(example.flags)
        dataset.beside_tests += example.database_id in gate.tests.databases
    return dataset


class Gate:
    """Refuses what stands in a test set and what was seen before; remembers what passed.

    `near`: the similarity of questions from which examples are near-duplicates; None turns that off. `given`: databases
    that were not invented here.
    """

    def __init__(
        self,
        tests: Iterable[Example],
        schema_of: SchemaOf,
        *,
        near: float | None = NEAR_QUESTION,
        given: Iterable[str] = (),
    ) -> None:
        self.schema_of, self.given = schema_of, frozenset(given)
        self.tests = TestSetIndex(tests, self.features)
        self.near = None if near is None else NearDuplicates(near)
        self.seen = SeenTexts()

    def features(self, example: Example) -> Features:
        return extract_features(example, self.schema_of(example.database_id))

    def reason(self, example: Example) -> tuple[str, str] | None:
        """(reason, detail) if the example is refused; None if it passes, and then it is remembered."""
        found = self.features(example)
        invented = not is_imported(example) and example.database_id not in self.given
        # Leaks come first: a repeated test question counts as leaked, not as a duplicate.
        if (leak := self.tests.find_leak(example, found, invented=invented)) is not None:
            return LEAKED, str(leak)
        if not self.seen.add(example.database_id, found.question):
            return DUPLICATE, "the question was asked on this database before"
        # Of what people wrote only repeats are dropped, and a test set stays whole.
        by_likeness = example.provenance.writer in ("grammar", "llm") and example.split in ("train", "selection")
        if self.near is not None and by_likeness and self.near.seen(duplicate_scope(example), found):
            return NEAR_DUPLICATE, "almost the same question and skeleton, over the same names, came before"
        return None


def is_imported(example: Example) -> bool:
    return example.provenance.writer == "imported"


def duplicate_scope(example: Example) -> str:
    """Near-duplicates are looked for within a split, and within a domain as its writer calls it."""
    return f"{example.split} {' '.join(example.domain.lower().split())}"


def flag_disagreement(example: Example) -> Example:
    """Marks an imported example whose question and SQL disagree. What was written here has passed that gate."""
    if not is_imported(example) or find_disagreement(example.question, example.gold, example.evidence) is None:
        return example
    return example.model_copy(update={"flags": [*example.flags, DISAGREES]})


def hold_back(dataset: CollectedDataset, train: Spool[Example], selection: Spool[Example]) -> Spool[Example]:
    """Drops imported training examples on databases of the selection split: several datasets may share databases."""
    aside = {example.database_id for example in selection if is_imported(example)}
    if not aside:
        return train
    # Places, not examples: the examples stay on disk.
    kept = array("Q")
    for place, example in enumerate(train):
        if is_imported(example) and example.database_id in aside:
            dataset.refuse(example, HELD_BACK, "its database is one of the selection split")
        else:
            kept.append(place)
    return train.arranged(kept)


def interleave(examples: Sequence[Example]) -> Sequence[Example]:
    """Round-robin over databases, so that any prefix of the list holds questions on many of them."""
    by_database: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    for place, example in enumerate(examples):
        by_database[example.database_id].append(place)
    rounds = zip_longest(*(by_database[key] for key in sorted(by_database)))
    places = (place for one in rounds for place in one if place is not None)
    return examples.arranged(places) if isinstance(examples, Spool) else [examples[place] for place in places]
