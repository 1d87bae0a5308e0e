"""What a report is made from: arms with judged answers, and the facts of the job that made the models."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.pairing import ErrorProfile, PairShape
from shared.contracts.records import Example, JudgedCandidate, Outcome, Policy, ResultView, Verdict


class Part(BaseModel):
    """Frozen, with known fields only."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmSpec(Part):
    """A model and the way it is asked. `train_items` and `train_steps` are 0 for an untrained base."""

    id: str
    title: str
    model: str
    shots: int = 0
    train_items: int = 0
    train_steps: int = 0
    greedy: bool = True
    samples: int = 1
    temperature: float = 0.0


class ArmResults(Part):
    """An arm's judged answers; rows of one example differ in `candidate.slot`."""

    arm: ArmSpec
    rows: list[JudgedCandidate]


class PromotionCandidate(Part):
    """An arm that may be promoted. Selection rows may stand here or among the arm's own rows.

    An arm that is not `eligible` is shown beside the others and never promoted (the control).
    """

    arm_id: str
    model: str
    eligible: bool = True
    rows: list[JudgedCandidate] = Field(default_factory=list)


class PairStats(Part):
    """How the preference pairs came about; counts are of questions, samples (verdicts) and pairs."""

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


class RoundFacts(Part):
    """A round of preference training: what it began from, what was sampled, what came of it on the selection split.

    `began_from` is an arm id, or the weak model's name in the first round; `kept`: it beat every model before it, and
    the next round began from it. `best`: of all rounds. Without `selection_questions` it made no model.
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


class WaveLine(Part):
    """A feature: how answers to golds with it failed before the second wave, what was asked for, what was written."""

    name: str
    answers: int
    failed: int
    weight: float
    written: int


class WaveFacts(Part):
    """A second wave of synthesis that followed the weak model's errors.

    `followed` of the `written` examples use the feature that was drawn for them; `accepted` passed verification.
    """

    weak_model: str
    answers: int
    failed: int
    written: int
    followed: int
    accepted: int
    lines: list[WaveLine]


class DataStats(Part):
    """How the examples came about; `rejected` counts by reason, the domain lists name domains by split."""

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


class TrainingFacts(Part):
    """One training: `seconds` of wall clock, `curve` of (step, loss)."""

    stage_id: str
    method: str
    rows: int
    steps: int
    final_loss: float | None = None
    seconds: float
    curve: list[tuple[int, float]] = Field(default_factory=list)


class ShardSpan(Part):
    """One shard's run, in seconds on the clock of its stage."""

    shard: int
    start: float
    end: float


class StageSpan(Part):
    """A stage's run: seconds on any one clock; `task` as in the plan (for example "pairing.sample_candidates")."""

    stage_id: str
    task: str
    shards: int
    first_start: float
    last_end: float
    busy_seconds: float
    spans: list[ShardSpan] = Field(default_factory=list)


class BenchmarkInput(Part):
    """A stored data set that arms were asked, judged by its official `policy`; `dataset` is NAME@VERSION.

    `strict` holds the same answers judged strictly, by arm id; empty where the policy is strict itself.
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


class ReportInput(Part):
    """All that a report may know. Arms may be missing; `reference_arm` is the one that others are compared with."""

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
