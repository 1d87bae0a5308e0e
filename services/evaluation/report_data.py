"""What a report shows, as numbers: rates from 0 to 1, differences in percentage points, times in seconds."""

from typing import Any, Literal

from pydantic import Field

from services.evaluation.model import (
    ArmSpec,
    DataStats,
    PairStats,
    Part,
    RoundFacts,
    StageSpan,
    TrainingFacts,
    WaveFacts,
)
from shared.contracts.records import Example, Outcome, ResultView, Verdict

SetName = str  # "held-out", "handwritten", "selection", or a data set's name and split


class Interval(Part):
    """The two ends of a 95 % interval."""

    low: float
    high: float


class Tally(Part):
    """Correct out of total."""

    correct: int
    total: int


class SetFacts(Part):
    """A set of questions; `questions` = `scored` + `gold_failed` + `gold_empty`, the same for every arm.

    With a `policy` it is a data set that is scored officially: there all questions are scored.
    """

    name: SetName
    policy: str | None = None
    questions: int
    scored: int
    gold_failed: int
    gold_empty: int
    databases: int
    domains: int


class ArmScore(Part):
    """One arm on one set.

    `accuracy` is the share of scored questions answered rightly (for sampled arms: the mean over questions of
    the share of right samples), None where the arm answered nothing. `unanswered` questions of a greedy arm
    count as not correct.
    `correct` and `rows` count answers.
    """

    arm: ArmSpec
    set_name: SetName
    questions: int
    unanswered: int
    rows: int
    correct: int
    accuracy: float | None
    interval: Interval | None
    invalid_sql: float | None
    k: int | None
    pass_at_k: float | None
    verdicts: dict[str, int]
    levels: dict[str, Tally]
    domains: dict[str, Tally]


class Comparison(Part):
    """`arm` minus `other` over the questions that both answered; `wins` are questions where `arm` scores higher."""

    set_name: SetName
    arm_id: str
    arm_title: str
    other_id: str
    other_title: str
    sampled: bool
    questions: int
    databases: int
    points: float
    interval: Interval | None
    standard_error: float | None
    smallest_effect: float | None
    wins: int
    losses: int
    p_value: float | None
    conclusion: str


class SelectionScore(Part):
    """A candidate for promotion on the selection split."""

    arm_id: str
    model: str
    eligible: bool
    correct: int
    questions: int
    accuracy: float | None


class Promotion(Part):
    """The model that the selection split chose, and why; None where nothing could be promoted."""

    arm_id: str | None
    model: str | None
    reason: str
    scores: list[SelectionScore]


class CaseAnswer(Part):
    """What one arm said."""

    arm_title: str
    sql: str | None
    verdict: Verdict
    outcome: Outcome
    message: str | None
    result: ResultView | None


class Case(Part):
    """A question on which two arms part."""

    kind: Literal["win", "loss"]
    set_name: SetName
    example: Example
    gold_result: ResultView | None
    arm: CaseAnswer
    other: CaseAnswer


class Timeline(Part):
    """Stages on a clock that starts with the first of them."""

    stages: list[StageSpan]
    wall_seconds: float
    busy_seconds: float
    sentences: list[str]


class BenchmarkArm(Part):
    """One arm on a data set: right answers out of answers by the official policy, strictly, and where golds have rows.

    `majority` is the vote of a sampled arm's answers by execution result. `failures` counts causes of what is wrong.
    """

    arm: ArmSpec
    official: Tally
    strict: Tally
    gold_not_empty: Tally
    majority: Tally | None
    hardness: dict[str, Tally]
    failures: dict[str, int]


class BenchmarkScore(Part):
    """A data set: what it is, by which rules it was scored, what its golds allow, and its arms.

    `skipped` counts questions that the import left out. `ceiling` is 0 to 1: no answer can score above it. `depends`
    counts questions whose verdicts depend on something else than SQL and database, in any arm. `sqlite`: its version.
    """

    set_name: SetName
    dataset: str
    split: str
    policy: str
    metric_version: str
    prompt: str
    licence: str
    release: str | None
    skipped: int
    questions: int
    gold_failed: list[str]
    gold_empty: int
    ceiling: float
    depends: dict[str, int] = Field(default_factory=dict)
    sqlite: str | None = None
    arms: list[BenchmarkArm]


class ReportData(Part):
    """The whole report; the renderers show this and nothing else."""

    job_id: str
    job_name: str
    reference_arm: str
    findings: list[str]
    caveats: list[str]
    sets: list[SetFacts]
    scores: list[ArmScore]
    benchmarks: list[BenchmarkScore] = Field(default_factory=list)
    comparisons: list[Comparison]
    credit: str
    promotion: Promotion | None
    case_arms: tuple[str, str] | None
    cases: list[Case]
    data: DataStats | None
    data_source: str | None
    pairs: PairStats | None
    pair_note: str | None
    rounds: list[RoundFacts] = Field(default_factory=list)
    wave: WaveFacts | None = None
    training: list[TrainingFacts]
    timeline: Timeline | None
    environment: dict[str, Any]
    training_seeds: int
    bootstrap_seed: int
    resamples: int
