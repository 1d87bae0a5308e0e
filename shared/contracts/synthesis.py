"""Strong data: writing examples and collecting the accepted ones into a dataset."""

from typing import Literal

from pydantic import Field

from shared.contracts.base import Command, Counts, Queue, TaskContract
from shared.contracts.records import Level, Split
from shared.contracts.refs import StageRef

Writer = Literal["grammar", "llm", "handwritten"]


class WriteExamples(Command):
    """Writes `count` examples; the shard's number is part of the seed."""

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


class WrittenCounts(Counts):
    """`unparsed`: answers of the strong model that held no example."""

    written: int
    unparsed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0


class Collect(Command):
    """Reads verified shards in order, removes duplicates and test questions, cuts to `limit`, writes the exports."""

    verified: list[StageRef]
    refuse: list[StageRef] = Field(default_factory=list, description="collected test sets that must not leak in")
    limit: int | None = None
    prompt_rows: int = 3


class CollectedCounts(Counts):
    """`rejected` counts what earlier gates refused; duplicates and leaks are refused here."""

    examples: int
    selection: int
    duplicates: int
    leaked: int
    rejected: int


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
