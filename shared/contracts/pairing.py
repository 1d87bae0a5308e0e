"""Weak data: sampling candidates, choosing pairs, collecting them for training."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Command, Counts, ObjectRef, Queue, RecordSlice, StageRef, TaskContract
from shared.contracts.records import Level, PromptStyle

PairPolicy = Literal["one_per_question", "nearest", "farthest", "hardest", "all_capped", "gold_chosen"]


class SampleCandidates(Command):
    """Asks the weak model for `samples` answers a question.

    `chosen` is a stage that has chosen the temperature; it goes before `temperature`. `model_from` is one that has
    chosen the model (a round of on-policy training); it goes before `model`.
    """

    examples: ObjectRef | RecordSlice
    endpoint: str
    model: str
    samples: int = Field(ge=2, le=64)
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 128
    seed: int = 0
    sample_rows: int = 3
    style: PromptStyle = PromptStyle()
    budget_usd: float | None = None
    budget_tokens: int | None = None
    chosen: StageRef | None = None
    model_from: StageRef | None = None


class SampledCounts(Counts):
    """Answers sampled, and those without any SQL in them; `refused` questions got no answer at all."""

    questions: int
    candidates: int
    unextractable: int
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0
    calls: int = 0
    call_ms: int = 0
    cut_off: int = 0
    without_temperature: int = 0
    without_top_p: int = 0
    without_seed: int = 0


class ChooseTemperature(Command):
    """Chooses among temperatures at which the same questions were sampled and judged, one stage each."""

    temperatures: list[float] = Field(min_length=2)
    judged: list[StageRef] = Field(min_length=2)


class TemperatureCounts(Counts):
    """`temperature_milli` is what was chosen, in thousandths; `mixed` of its `questions` had both outcomes."""

    questions: int
    mixed: int
    temperature_milli: int


class BuildPairs(Command):
    """Chooses pairs among one shard's judged candidates.

    `per_question` bounds what `all_capped` takes; a side may be at most `length_ratio` times as long as the other.
    """

    judged: ObjectRef
    policy: PairPolicy = "one_per_question"
    seed: int = 0
    per_question: int = Field(default=4, ge=1, le=64)
    length_ratio: float = Field(default=4.0, ge=1)


class PairCounts(Counts):
    """Pairs, and the questions without one by reason; `excluded_gold` is the sum of the three after it.

    `same_text`, `same_program` and `length_ratio` count pairings that were refused, `filtered` the questions that had
    no other; `gold_chosen` pairs whose chosen side is the gold, `unpaired` answers that are disputed or hold no SQL.
    """

    questions: int
    pairs: int
    all_correct: int = 0
    none_correct: int = 0
    excluded_gold: int = 0
    gold_failed: int = 0
    gold_timeout: int = 0
    both_empty: int = 0
    suspect_gold: int = 0
    filtered: int = 0
    same_text: int = 0
    same_program: int = 0
    length_ratio: int = 0
    gold_chosen: int = 0
    unpaired: int = 0


class ProfileModel(BaseModel):
    """Frozen, with known fields only."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProfileLine(ProfileModel):
    """Answers that could be told right from wrong, of one outcome or to golds of one feature, and how they failed."""

    name: str
    answers: int
    correct: int
    wrong: int
    error: int
    timeout: int
    unextractable: int

    @property
    def failed(self) -> float:
        """Share of answers that were not right, 0 to 1."""
        return 1 - self.correct / self.answers if self.answers else 0.0


class ErrorProfile(ProfileModel):
    """What the weak model gets wrong: the object `profile` of `pairing.collect` and of `pairing.profile_errors`.

    `levels` are those of the questions; only the second one knows them.
    """

    outcomes: list[ProfileLine] = Field(default_factory=list)
    features: list[ProfileLine] = Field(default_factory=list)
    levels: list[ProfileLine] = Field(default_factory=list)


class ProfileErrors(Command):
    """Counts what judged answers get wrong, and turns it into wishes for the writer of more examples.

    `judged` is the stage of verdicts, `asked` the sampling stage that holds the examples they answer. `levels` are the
    shares that the wishes for levels start from.
    """

    judged: StageRef
    asked: StageRef
    levels: dict[Level, float]


class ProfiledCounts(Counts):
    """Answers that could be told right from wrong, those that were not right, and features that are wished for."""

    answers: int
    failed: int
    wishes: int


class HistogramBin(ProfileModel):
    """How many values lie from `low` up to, and not including, `high`; the last bin of a histogram holds its end."""

    low: int
    high: int
    count: int


class PairShape(ProfileModel):
    """How far the sides of a set's pairs are apart (tokens) and how long they are (characters): object `shape`."""

    distances: list[HistogramBin] = Field(default_factory=list)
    chosen: list[HistogramBin] = Field(default_factory=list)
    rejected: list[HistogramBin] = Field(default_factory=list)


class CollectPairs(Command):
    """Reads pair shards in order, refuses what is not in the dataset, and writes `dpo` and the control's `chosen`.

    `max_length` is the trainer's, in tokens; None: unknown. `syntax_share`: the most that rejected sides which SQLite
    cannot parse may be of all.
    """

    pairs: StageRef
    dataset: StageRef
    limit: int | None = None
    sample_rows: int = 3
    style: PromptStyle = PromptStyle()
    seed: int = 0
    max_length: int | None = Field(default=None, ge=8)
    syntax_share: float = Field(default=0.25, ge=0, le=1)


class CollectedPairCounts(Counts):
    """`outside` counts pairs whose example the dataset left out, `duplicates` equal pairs.

    `too_long` would be cut by the trainer, `syntax_capped` are above the share of syntax errors, `over_limit` above the
    spec's `limit`. `suspect_golds` are questions, listed for a human.
    """

    pairs: int
    outside: int
    duplicates: int
    too_long: int = 0
    syntax_capped: int = 0
    over_limit: int = 0
    suspect_golds: int = 0


SAMPLE_CANDIDATES = TaskContract(
    name="pairing.sample_candidates",
    queue=Queue.PAIRING,
    command=SampleCandidates,
    event="candidates.sampled",
    counts=SampledCounts,
    outputs=("candidates", "examples"),
    hard_limit_s=3600,
)
CHOOSE_TEMPERATURE = TaskContract(
    name="pairing.choose_temperature",
    queue=Queue.PAIRING,
    command=ChooseTemperature,
    event="temperature.chosen",
    counts=TemperatureCounts,
    outputs=("choice",),
)
BUILD_PAIRS = TaskContract(
    name="pairing.build_pairs",
    queue=Queue.PAIRING,
    command=BuildPairs,
    event="pairs.built",
    counts=PairCounts,
    outputs=("pairs", "suspects", "profile"),
)
COLLECT_PAIRS = TaskContract(
    name="pairing.collect",
    queue=Queue.PAIRING,
    command=CollectPairs,
    event="pairs.collected",
    counts=CollectedPairCounts,
    outputs=("dpo", "chosen", "pairs", "suspects", "profile", "shape", "card", "page"),
    hard_limit_s=3600,
)
PROFILE_ERRORS = TaskContract(
    name="pairing.profile_errors",
    queue=Queue.PAIRING,
    command=ProfileErrors,
    event="errors.profiled",
    counts=ProfiledCounts,
    outputs=("profile", "wishes"),
)
