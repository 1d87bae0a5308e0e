"""The input of a job's report, and the report itself: rates from 0 to 1, differences in points, times in seconds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.pairing import ErrorProfile, PairShape
from shared.contracts.records import Example, JudgedCandidate, Outcome, Policy, ResultView, Verdict


class ReportPart(BaseModel):
    """A frozen model that forbids unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmSpec(ReportPart):
    """A model and how it is asked. `train_items` and `train_steps` are 0 for an untrained base."""

    id: str
    title: str
    model: str
    shots: int = 0
    train_items: int = 0
    train_steps: int = 0
    greedy: bool = True
    samples: int = 1
    temperature: float = 0.0


class ArmResults(ReportPart):
    """An arm's judged answers; rows of one example differ in `candidate.slot`."""

    arm: ArmSpec
    rows: list[JudgedCandidate]


class PromotionCandidate(ReportPart):
    """An arm that may be promoted; its selection rows are here or among the arm's rows.

    An arm that is not `eligible` (the control) is shown beside the others and never promoted.
    """

    arm_id: str
    model: str
    eligible: bool = True
    rows: list[JudgedCandidate] = Field(default_factory=list)


class PairStats(ReportPart):
    """How the preference pairs came about: counts of questions, samples (verdicts) and pairs."""

    questions: int
    samples_per_question: int
    temperature: float = 1.0
    verdicts: dict[str, int]
    pairs: int
    excluded: dict[str, int]
    on_policy: bool
    weak_model: str
    profile: ErrorProfile | None = None
    shape: PairShape | None = None


class RoundFacts(ReportPart):
    """A round of preference training: where it began, what was sampled, how its model scores on the selection split.

    `began_from` is an arm id, or the weak model's name in the first round. `kept`: the model beats every earlier one
    and the next round begins from it. `best`: the best of all rounds. Without `selection_questions` there is no model.
    """

    number: int
    arm_id: str
    began_from: str
    questions: int
    samples: int
    right_samples: int
    pairs: int
    minimum: int
    steps: int
    selection_correct: int
    selection_questions: int
    kept: bool
    best: bool


class WaveLine(ReportPart):
    """One SQL feature: how often answers failed before the wave, its weight in the wave, how much was written."""

    name: str
    answers: int
    failed: int
    weight: float
    written: int


class WaveFacts(ReportPart):
    """A second wave of synthesis, aimed at the weak model's errors.

    `followed` of the `written` examples use the feature drawn for them; `accepted` passed verification.
    """

    weak_model: str
    answers: int
    failed: int
    written: int
    followed: int
    accepted: int
    lines: list[WaveLine]


class DataStats(ReportPart):
    """How the examples came about: rejections by reason, domains by split."""

    writer: str
    writer_version: str
    model: str | None = None
    requested: int
    accepted: int
    rejected: dict[str, int]
    levels: dict[str, int]
    train_domains: list[str]
    selection_domains: list[str]
    test_domains: list[str]
    source: str = Field(
        default="", description="where the data came from, in a sentence; made from the writer where empty"
    )


class TrainingFacts(ReportPart):
    """One training run; `curve` holds (step, loss)."""

    stage_id: str
    method: str
    rows: int
    steps: int
    final_loss: float | None = None
    seconds: float
    curve: list[tuple[int, float]] = Field(default_factory=list)


class ShardSpan(ReportPart):
    """When one shard ran, in seconds on the clock of its stage."""

    shard: int
    start: float
    end: float


class StageSpan(ReportPart):
    """When a stage ran, in seconds on any one clock; `task` is as in the plan."""

    stage_id: str
    task: str
    shards: int
    first_start: float
    last_end: float
    busy_seconds: float
    spans: list[ShardSpan] = Field(default_factory=list)


class BenchmarkInput(ReportPart):
    """A stored dataset and its arms, judged by its official `policy`; `dataset` is NAME@VERSION.

    `strict` holds the same answers judged strictly, by arm id; empty where the policy is strict.
    """

    name: str
    dataset: str
    split: str
    policy: Policy
    licence: str
    release: str | None = None
    skipped: int = 0
    prompt: str
    examples: dict[str, Example]
    arms: list[ArmResults]
    strict: dict[str, list[JudgedCandidate]] = Field(default_factory=dict)
    sqlite: str | None = None


class ReportInput(ReportPart):
    """All that a report draws on. Arms may be missing; the others are compared with `reference_arm`."""

    job_id: str
    job_name: str
    examples: dict[str, Example]
    arms: list[ArmResults]
    benchmarks: list[BenchmarkInput] = Field(default_factory=list)
    reference_arm: str = "sft"
    baseline_arm: str = "base-zero"
    control_arm: str = "sft-chosen"
    treatment_arm: str = "dpo"
    candidates: list[PromotionCandidate] = Field(default_factory=list)
    pairs: PairStats | None = None
    rounds: list[RoundFacts] = Field(default_factory=list)
    wave: WaveFacts | None = None
    data: DataStats | None = None
    training: list[TrainingFacts] = Field(default_factory=list)
    endings: list[str] = Field(default_factory=list)
    timeline: list[StageSpan] = Field(default_factory=list)
    environment: dict[str, Any] = Field(default_factory=dict)
    training_seeds: int = 1
    bootstrap_seed: int = 0
    resamples: int = Field(default=10_000, ge=100)


SetName = str  # "held-out", "handwritten", "selection", or a dataset's name and split


class Interval(ReportPart):
    """A 95 % interval."""

    low: float
    high: float


class CorrectCount(ReportPart):
    correct: int
    total: int


class SetFacts(ReportPart):
    """A test set; `questions` = `scored` + `gold_failed` + `gold_empty`, the same for every arm.

    With a `policy` it is a dataset that is scored officially: all of its questions count.
    """

    name: SetName
    policy: str | None = None
    questions: int
    scored: int
    gold_failed: int
    gold_empty: int
    databases: int
    domains: int


class ArmScore(ReportPart):
    """One arm on one test set.

    `accuracy` is the share of scored questions with a right answer (for sampled arms: the mean share of right samples),
    None where the arm answered nothing. `unanswered` questions of a greedy arm count as wrong. `correct` and `rows`
    count answers.
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
    levels: dict[str, CorrectCount]
    domains: dict[str, CorrectCount]


class ArmComparison(ReportPart):
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


class CandidateScore(ReportPart):
    """A candidate for promotion on the selection split."""

    arm_id: str
    model: str
    eligible: bool
    correct: int
    questions: int
    accuracy: float | None


class Promotion(ReportPart):
    """The model that the selection split chose, and why; None where nothing can be promoted."""

    arm_id: str | None
    model: str | None
    reason: str
    scores: list[CandidateScore]


class CaseAnswer(ReportPart):
    arm_title: str
    sql: str | None
    verdict: Verdict
    outcome: Outcome
    message: str | None
    result: ResultView | None


class CaseStudy(ReportPart):
    """A question on which two arms differ."""

    kind: Literal["win", "loss"]
    set_name: SetName
    example: Example
    gold_result: ResultView | None
    arm: CaseAnswer
    other: CaseAnswer


class Timeline(ReportPart):
    """Stages on a clock that starts with the first of them."""

    stages: list[StageSpan]
    wall_seconds: float
    busy_seconds: float
    sentences: list[str]


class BenchmarkArm(ReportPart):
    """One arm on a dataset: by the official policy, strictly, and where golds have rows.

    `majority` is the vote of a sampled arm's answers by execution result. `failures` counts causes of wrong answers.
    """

    arm: ArmSpec
    official: CorrectCount
    strict: CorrectCount
    gold_not_empty: CorrectCount
    majority: CorrectCount | None
    hardness: dict[str, CorrectCount]
    failures: dict[str, int]


class BenchmarkScore(ReportPart):
    """What a dataset is, by which rules it was scored, what its golds allow, and its arms.

    `skipped` counts questions that the import left out. No answer can score above `ceiling` (0 to 1). `depends` counts
    questions whose verdicts depend on something besides SQL and database. `sqlite` is the version.
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


class ReportData(ReportPart):
    """The whole report; renderers show this and nothing else."""

    job_id: str
    job_name: str
    reference_arm: str
    findings: list[str]
    caveats: list[str]
    sets: list[SetFacts]
    scores: list[ArmScore]
    benchmarks: list[BenchmarkScore] = Field(default_factory=list)
    comparisons: list[ArmComparison]
    credit: str
    promotion: Promotion | None
    case_arms: tuple[str, str] | None
    cases: list[CaseStudy]
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
