"""Strong data: writing examples and collecting the accepted ones into a dataset."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Command, Counts, ObjectRef, OutputRef, Queue, StageRef, TaskContract
from shared.contracts.datasets import DatasetSplit
from shared.contracts.records import AnswerTarget, Level, PromptStyle, Split

WriterName = Literal["grammar", "llm", "handwritten"]


class WriteExamples(Command):
    """Writes `count` examples; the shard's number is part of the seed.

    `seeds` is a stored dataset (NAME@VERSION) whose split gives the examples that are shown; None: our own. Of
    `databases`, a share `user_database_share` of the examples is written for. `before` is the number of shards in
    completed waves: their accepted examples, left by the stage `accepted`, say which domains are common by now.
    `features` are SQL features (names of `shared.sql.features.FEATURES`) with weights: what the examples should use.
    `wishes` is a stage that has left such weights, and weights of levels; they go before `features` and `levels`.
    """

    writer: WriterName
    split: Split
    count: int = Field(ge=1)
    levels: dict[Level, float]
    seed: int
    endpoint: str | None = None
    model: str | None = None
    temperature: float = 0.9
    max_tokens: int = 2000
    budget_usd: float | None = None
    budget_tokens: int | None = None
    seeds: str | None = None
    seeds_split: DatasetSplit = "train"
    evidence: bool = False
    target: AnswerTarget = "sql"
    databases: list[str] = Field(default_factory=list)
    user_database_share: float = Field(default=0.0, ge=0, le=1)
    before: int = Field(default=0, ge=0)
    accepted: StageRef | None = None
    features: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    wishes: StageRef | None = None


class WrittenCounts(Counts):
    """`unparsed`: answers of the strong model that held no example; `refused`: prompts that it would not answer.

    `unasked` examples were not asked for, because the budget would not have held. `own` of the written ones are for
    databases of the user's, `followed` use the feature that was asked of them. Tokens and money are what was paid now;
    the tokens and the price of all answers that were used, recorded ones too, are `answer_*`: the same in every run.
    """

    written: int
    unparsed: int = 0
    refused: int = 0
    unasked: int = 0
    for_user_databases: int = 0
    followed: int = 0
    answer_prompt_tokens: int = 0
    answer_completion_tokens: int = 0
    answer_micro_usd: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0
    calls: int = 0
    call_ms: int = 0
    cut_off: int = 0
    without_temperature: int = 0
    without_top_p: int = 0
    without_seed: int = 0


class LoadDataset(Command):
    """Reads a split of a stored dataset, as a job's examples.

    For `test`, questions are interleaved over databases and cut to `questions`. For `train`, a share `weight` is
    drawn by `seed`, and where `selection` is above 0 whole databases are set aside for so many selection questions.
    """

    name: str = Field(default="", description="the name under which the set is browsed")
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


class ReviewExamples(Command):
    """Asks a judge model of each verified example whether the SQL answers the question; a clear no rejects it."""

    examples: ObjectRef
    endpoint: str
    model: str
    budget_usd: float | None = None
    sample_rows: int = 3
    max_tokens: int = 80


class ReviewedCounts(Counts):
    """`unclear` ones are among the accepted: the judge said neither yes nor no."""

    accepted: int
    rejected: int
    unclear: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0


class CollectSource(BaseModel):
    """Where a source's accepted examples lie and, for a written one, what the gates before them refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accepted: StageRef
    written: StageRef | None = None
    rejected: list[OutputRef] = Field(default_factory=list)


class Collect(Command):
    """Reads accepted shards in order, removes duplicates and test questions, cuts to `limit`, writes the exports.

    A set that is smaller than `limit` and not `final` is not written: more examples come first, and another shard.
    `told` is how many the shards before this one said that it was short of.
    """

    name: str = Field(default="", description="the name under which the set is browsed")
    sources: list[CollectSource]
    refuse: list[StageRef] = Field(default_factory=list, description="collected test sets that must not leak in")
    limit: int | None = None
    sample_rows: int = 3
    style: PromptStyle = PromptStyle()
    final: bool = True
    told: int = 0
    near_duplicates: float | None = Field(
        default=0.85,
        gt=0,
        le=1,
        description="similarity of questions from which examples are near-duplicates; None: off",
    )
    given: list[str] = Field(
        default_factory=list, description="ids of databases that were given, not invented: tests may share them"
    )


HARDNESS = ("easy", "medium", "hard", "extra", "beyond_spider")


class CollectedCounts(Counts):
    """`rejected` counts what earlier gates refused; duplicates, near-duplicates and leaks are refused here.

    Read = examples + selection + duplicates + near_duplicates + leaked + held_back (imported training examples on a
    database of the selection split) + surplus (past the limit). `flagged`: imported training examples whose question
    and SQL disagree. `as_asked`: training examples of the hardness that was asked for; `measured_…`: by what Spider's
    rule says. `short`: examples that the limit lacks, counted against what was told before, so that the stage's sum is
    the latest number.
    """

    examples: int
    selection: int
    duplicates: int
    leaked: int
    rejected: int
    held_back: int = 0
    short: int = 0
    near_duplicates: int = 0
    surplus: int = 0
    flagged: int = 0
    as_asked: int = 0
    measured_easy: int = 0
    measured_medium: int = 0
    measured_hard: int = 0
    measured_extra: int = 0
    measured_beyond_spider: int = 0


WRITE_EXAMPLES = TaskContract(
    name="synthesis.write_examples",
    queue=Queue.SYNTHESIS,
    command=WriteExamples,
    event="examples.written",
    counts=WrittenCounts,
    outputs=("written", "unparsed"),
    hard_limit_s=1800,
)
LOAD_DATASET = TaskContract(
    name="synthesis.load_dataset",
    queue=Queue.SYNTHESIS,
    command=LoadDataset,
    event="dataset.loaded",
    counts=LoadedCounts,
    outputs=("examples",),
)
REVIEW_EXAMPLES = TaskContract(
    name="synthesis.review_examples",
    queue=Queue.SYNTHESIS,
    command=ReviewExamples,
    event="examples.reviewed",
    counts=ReviewedCounts,
    outputs=("examples", "rejected"),
    hard_limit_s=1800,
)
COLLECT = TaskContract(
    name="synthesis.collect",
    queue=Queue.SYNTHESIS,
    command=Collect,
    event="dataset.collected",
    counts=CollectedCounts,
    outputs=("examples", "selection", "sft", "rejected", "card", "card_html"),
    hard_limit_s=3600,
)
