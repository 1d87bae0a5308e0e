"""Makes a dataset of verified shards: pure, in shard order, so that order of arrival changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shared.contracts.records import Example


@dataclass(slots=True)
class Dataset:
    """What was kept, and how many were refused why.

    `beside_tests`: kept imported examples on a database that a test set uses too, with other questions and golds.
    """

    examples: list[Example] = field(default_factory=list)
    selection: list[Example] = field(default_factory=list)
    duplicates: int = 0
    leaked: int = 0
    held_back: int = 0
    beside_tests: int = 0


def question_key(example: Example) -> str:
    """Equal for questions that differ only in case, spaces or a closing mark."""
    return " ".join(example.question.lower().rstrip("?. ").split())


class Gate:
    """Refuses what was seen before and what stands in a test set."""

    def __init__(self, refused: Iterable[Example]) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.test_questions: set[str] = set()
        self.test_databases: set[str] = set()
        self.test_golds: set[tuple[str, str]] = set()
        for example in refused:
            self.test_questions.add(question_key(example))
            self.test_databases.add(example.database_id)
            self.test_golds.add(gold_key(example))

    def reason(self, example: Example) -> str | None:
        """`leaked`, `duplicate`, or None; remembers what passed."""
        if self.leaks(example):
            return "leaked"
        key = (example.database_id, question_key(example))
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        return None

    def leaks(self, example: Example) -> bool:
        """Whether a test set has the question, or the gold on that database.

        What we write ourselves is refused on any database of a test set. An imported set may share its databases with
        its own test split, as questions to one company's database do: there question and gold decide.
        """
        if question_key(example) in self.test_questions or gold_key(example) in self.test_golds:
            return True
        return example.database_id in self.test_databases and not imported(example)


def imported(example: Example) -> bool:
    """Whether it comes from a stored data set."""
    return example.provenance.writer == "imported"


def gold_key(example: Example) -> tuple[str, str]:
    """Equal for golds on one database that differ only in case, spaces or a closing semicolon."""
    return example.database_id, " ".join(example.gold.lower().rstrip("; ").split())


def hold_back(dataset: Dataset) -> None:
    """Takes imported training examples on the selection split's databases out: several sets may share databases."""
    aside = {example.database_id for example in dataset.selection if imported(example)}
    kept = [one for one in dataset.examples if not (imported(one) and one.database_id in aside)]
    dataset.held_back = len(dataset.examples) - len(kept)
    dataset.examples = kept


def collect(verified: Iterable[Example], refused: Iterable[Example], limit: int | None) -> Dataset:
    """Examples in order, without duplicates and test questions, the training part cut to `limit`."""
    gate, dataset = Gate(refused), Dataset()
    for example in verified:
        reason = gate.reason(example)
        if reason == "leaked":
            dataset.leaked += 1
        elif reason == "duplicate":
            dataset.duplicates += 1
        elif example.split == "selection":
            dataset.selection.append(example)
        else:
            dataset.examples.append(example)
    hold_back(dataset)
    if limit is not None:
        dataset.examples = dataset.examples[:limit]
    dataset.beside_tests = sum(one.database_id in gate.test_databases for one in dataset.examples)
    return dataset


def interleave(examples: Sequence[Example]) -> list[Example]:
    """Round-robin over databases, so that any beginning of the list holds questions on many of them."""
    by_database: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_database[example.database_id].append(example)
    queues = [by_database[key] for key in sorted(by_database)]
    depth = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(depth) for queue in queues if place < len(queue)]
