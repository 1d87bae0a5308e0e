"""What a report is made from: arms with judged answers, and the facts of the job that made the models."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.pairing import ErrorProfile, PairShape
from shared.contracts.records import Example, Judged, Policy


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
    rows: list[Judged]


class PromotionCandidate(Part):
    """An arm that may be promoted. Selection rows may stand here or among the arm's own rows.

    An arm that is not `eligible` is shown beside the others and never promoted (the control).
    """

    arm_id: str
    model: str
    eligible: bool = True
    rows: list[Judged] = Field(default_factory=list)


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
    strict: dict[str, list[Judged]] = Field(default_factory=dict)
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
