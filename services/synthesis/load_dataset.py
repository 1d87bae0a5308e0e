"""A split of a stored dataset as a job's examples: which of its questions, and for what. Pure."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from services.synthesis.collecting.collect import interleave
from shared.contracts.records import Example, Split
from shared.contracts.synthesis import LoadDataset

DATABASES_PER_SELECTED = 4  # at most one database in so many is set aside


@dataclass(frozen=True)
class LoadedExamples:
    """The examples, training before selection, and how many are not used at all."""

    examples: list[Example]
    selection: int = 0
    held_back: int = 0
    gold_failed: int = 0


def select_examples(command: LoadDataset, rows: Iterable[Example], faulty: Set[int] = frozenset()) -> LoadedExamples:
    """The examples of the command's split, marked with their dataset.

    `faulty` are numbers of questions whose gold cannot run. A test keeps them, because its score counts them; training
    leaves them out.
    """
    every = [row for row in rows if row.split == command.split]
    if command.use == "test":
        chosen = interleave(every)[: command.questions] if command.questions else every
        return LoadedExamples(mark_examples(chosen, command.dataset, "test"))
    found = [row for row in every if row.index is None or row.index not in faulty]
    aside = draw_selection_databases(found, command.selection, command.seed)
    kept = [row for row in found if row.database_id not in aside]
    train = draw_examples(kept, command.weight, command.questions, command.seed)
    apart = interleave([row for row in found if row.database_id in aside])
    # Training must not see these databases, so the rest of them is used for nothing.
    selection = apart[: command.selection]
    examples = mark_examples(train, command.dataset, "train") + mark_examples(selection, command.dataset, "selection")
    return LoadedExamples(examples, len(selection), len(apart) - len(selection), len(every) - len(found))


def mark_examples(rows: Sequence[Example], dataset: str, split: Split) -> list[Example]:
    return [row.model_copy(update={"dataset": dataset, "split": split}) for row in rows]


def draw_key(seed: int, text: str) -> str:
    """A sort key whose order depends on the seed alone."""
    return hashlib.sha256(f"{seed}\x1f{text}".encode()).hexdigest()


def draw_examples(rows: Sequence[Example], weight: float, most: int | None, seed: int) -> list[Example]:
    """A share of the rows, at most `most`, in the dataset's order."""
    count = max(1, round(weight * len(rows))) if rows else 0
    count = count if most is None else min(count, most)
    if count == len(rows):
        return list(rows)
    chosen = sorted(range(len(rows)), key=lambda place: draw_key(seed, rows[place].example_id))[:count]
    return [rows[place] for place in sorted(chosen)]


def draw_selection_databases(rows: Sequence[Example], questions: int, seed: int) -> set[str]:
    """Whole databases that hold so many questions, drawn by seed: at least one, at most a quarter of all.

    Empty where there is only one database: models are compared on databases that training never saw.
    """
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[row.database_id] += 1
    if not questions or len(sizes) < 2:
        return set()
    aside: set[str] = set()
    for database in sorted(sizes, key=lambda one: draw_key(seed, one))[: max(1, len(sizes) // DATABASES_PER_SELECTED)]:
        aside.add(database)
        if sum(sizes[one] for one in aside) >= questions:
            break
    return aside
