"""A split of a stored data set as a job's examples: which of its questions, and for what. Pure."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from services.synthesis.collecting.collect import interleave
from shared.contracts.records import Example, Split
from shared.contracts.synthesis import LoadDataset

LARGEST_SELECTION = 4  # at most one in so many databases is set aside


@dataclass(frozen=True)
class LoadedExamples:
    """The examples, training questions before those of the selection split, and how many are used for nothing."""

    examples: list[Example]
    selection: int = 0
    held_back: int = 0
    gold_failed: int = 0


def select_examples(command: LoadDataset, rows: Iterable[Example], faulty: Set[int] = frozenset()) -> LoadedExamples:
    """The rows of the command's split, marked with the data set they come from.

    `faulty` are numbers of questions whose gold cannot run: a test keeps them, for its score counts them; nothing is
    trained on them.
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
    selection = apart[: command.selection]
    examples = mark_examples(train, command.dataset, "train") + mark_examples(selection, command.dataset, "selection")
    return LoadedExamples(examples, len(selection), len(apart) - len(selection), len(every) - len(found))


def mark_examples(rows: Sequence[Example], dataset: str, split: Split) -> list[Example]:
    return [row.model_copy(update={"dataset": dataset, "split": split}) for row in rows]


def draw_key(seed: int, text: str) -> str:
    """A stable order that depends on the seed alone."""
    return hashlib.sha256(f"{seed}\x1f{text}".encode()).hexdigest()


def draw_examples(rows: Sequence[Example], weight: float, most: int | None, seed: int) -> list[Example]:
    """A share of the rows, at most `most`, in the data set's order."""
    count = max(1, round(weight * len(rows))) if rows else 0
    count = count if most is None else min(count, most)
    if count == len(rows):
        return list(rows)
    chosen = sorted(range(len(rows)), key=lambda place: draw_key(seed, rows[place].example_id))[:count]
    return [rows[place] for place in sorted(chosen)]


def draw_selection_databases(rows: Sequence[Example], questions: int, seed: int) -> set[str]:
    """Whole databases that hold so many questions, drawn by seed: a quarter of them at most, at least one.

    None where there is only one database: what is promoted has to be decided on databases that training never saw.
    """
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[row.database_id] += 1
    if not questions or len(sizes) < 2:
        return set()
    aside: set[str] = set()
    for database in sorted(sizes, key=lambda one: draw_key(seed, one))[: max(1, len(sizes) // LARGEST_SELECTION)]:
        aside.add(database)
        if sum(sizes[one] for one in aside) >= questions:
            break
    return aside
