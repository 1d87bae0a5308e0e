"""Strong data: writing examples and collecting the accepted ones into a dataset."""

from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.base import Command, Counts, Queue, TaskContract
from shared.contracts.datasets import DatasetSplit
from shared.contracts.records import Level, Split
from shared.contracts.refs import StageRef

Writer = Literal["grammar", "llm", "handwritten"]


class WriteExamples(Command):
    """Writes `count` examples; the shard's number is part of the seed.

    `features` are SQL features (names of `shared.sql.features.FEATURES`) with weights: what the examples should use.
    `wishes` is a stage that has left such weights, and weights of levels; they go before `features` and `levels`.
    """

    writer: Writer
    split: Split
    count: int = Field(ge=1)
    levels: dict[Level, float]
    seed: int
    endpoint: str | None = None
    model: str | None = None
    temperature: float = 0.9
    max_tokens: int = 1200
    budget_usd: float | None = None
    features: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    wishes: StageRef | None = None


class WrittenCounts(Counts):
    """`unparsed`: answers of the strong model that held no example; `followed` examples use a feature asked for."""

    written: int
    unparsed: int = 0
    followed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0


class LoadDataset(Command):
    """Reads a split of a stored data set, as a job's examples.

    For `test`, questions are interleaved over databases and cut to `questions`. For `train`, a share `weight` is
    drawn by `seed`, and where `selection` is above 0 whole databases are set aside for so many selection questions.
    """

    dataset: str = Field(description="NAME@VERSION")
    split: DatasetSplit
    use: Literal["train", "test"]
    questions: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, gt=0, le=1)
    selection: int = Field(default=0, ge=0)
    seed: int = 0


class LoadedCounts(Counts):
    """`selection` questions are among `examples`; `held_back` lie on their databases and are used for nothing.

    `gold_failed` are left out of training, because their gold did not run at the import.
    """

    examples: int
    selection: int = 0
    held_back: int = 0
    gold_failed: int = 0


class Collect(Command):
    """Reads verified shards in order, removes duplicates and test questions, cuts to `limit`, writes the exports."""

    verified: list[StageRef]
    refuse: list[StageRef] = Field(default_factory=list, description="collected test sets that must not leak in")
    limit: int | None = None
    prompt_rows: int = 3


class CollectedCounts(Counts):
    """`rejected` counts what earlier gates refused; duplicates and leaks are refused here.

    `held_back`: imported training examples on a database of the selection split.
    """

    examples: int
    selection: int
    duplicates: int
    leaked: int
    rejected: int
    held_back: int = 0


WRITE_EXAMPLES = TaskContract(
    name="synthesis.write_examples",
    queue=Queue.SYNTHESIS,
    command=WriteExamples,
    fact="examples.written",
    counts=WrittenCounts,
    outputs=("written", "unparsed"),
    hard_limit_s=1800,
    max_attempts=3,
)
LOAD_DATASET = TaskContract(
    name="synthesis.load_dataset",
    queue=Queue.SYNTHESIS,
    command=LoadDataset,
    fact="dataset.loaded",
    counts=LoadedCounts,
    outputs=("examples",),
    hard_limit_s=900,
    max_attempts=3,
)
COLLECT = TaskContract(
    name="synthesis.collect",
    queue=Queue.SYNTHESIS,
    command=Collect,
    fact="dataset.collected",
    counts=CollectedCounts,
    outputs=("examples", "selection", "sft", "rejected", "card"),
    hard_limit_s=3600,
    max_attempts=3,
)
