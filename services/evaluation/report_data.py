"""What a report shows, as numbers: rates from 0 to 1, differences in percentage points, times in seconds."""

from typing import Any, Literal

from services.evaluation.model import ArmSpec, DataStats, PairStats, Part, StageSpan, TrainingFacts
from shared.contracts.records import Example, Outcome, ResultView, Verdict

SetName = Literal["held-out", "handwritten", "selection"]


class Interval(Part):
    """The two ends of a 95 % interval."""

    low: float
    high: float


class Tally(Part):
    """Correct out of total."""

    correct: int
    total: int


class SetFacts(Part):
    """A set of questions; `questions` = `scored` + `gold_failed` + `gold_empty`, the same for every arm."""

    name: SetName
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


class ReportData(Part):
    """The whole report; the renderers show this and nothing else."""

    job_id: str
    job_name: str
    reference_arm: str
    findings: list[str]
    caveats: list[str]
    sets: list[SetFacts]
    scores: list[ArmScore]
    comparisons: list[Comparison]
    credit: str
    promotion: Promotion | None
    case_arms: tuple[str, str] | None
    cases: list[Case]
    data: DataStats | None
    data_source: str | None
    pairs: PairStats | None
    pair_note: str | None
    training: list[TrainingFacts]
    timeline: Timeline | None
    environment: dict[str, Any]
    training_seeds: int
    bootstrap_seed: int
    resamples: int
