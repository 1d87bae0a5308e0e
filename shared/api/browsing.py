"""Objects of the REST API for what jobs left: plans, shards, examples, pairs, answers, curves and reports."""

from typing import Any, Literal

from pydantic import Field

from shared.api.resources import ApiObject, Artifact, PageBase
from shared.contracts.records import Level, Outcome, Policy, ResultView, Verdict

ShardStatus = Literal["queued", "running", "done", "failed", "cancelled"]


class PlanTarget(ApiObject):
    """A stage that is fed until `stage` has counted `amount` of `count`."""

    stage: str
    count: str
    amount: int


class PlanStage(ApiObject):
    """A stage of the plan: `upstream` is all it waits for, `each` the stage that it follows shard by shard."""

    id: str
    task: str
    queue: str
    upstream: list[str] = Field(default_factory=list)
    each: str | None = None
    target: PlanTarget | None = None
    optional: bool = Field(default=False, description="skipped where an earlier stage counted too little")
    device: str | None = None
    model: str | None = None


class PlanView(ApiObject):
    """The compiled plan of a job; without stages before it is compiled."""

    object: Literal["plan"] = "plan"
    job_id: str
    lost_allowed: int = 0
    stages: list[PlanStage] = Field(default_factory=list)


class ShardError(ApiObject):
    """Why a shard's last attempt failed."""

    code: str
    message: str
    retryable: bool = False


class ShardView(ApiObject):
    """A shard: `attempt` counts from 1; an error of an earlier attempt stands until a later one is done."""

    object: Literal["shard"] = "shard"
    stage: str
    shard: int
    state: ShardStatus
    attempt: int
    error: ShardError | None = None
    worker: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


class ShardList(PageBase):
    """Shards stage by stage in plan order."""

    data: list[ShardView]


class BrowsedExample(ApiObject):
    """An example that was accepted, or one that a gate refused: then with `reason` and `detail`.

    A refused one may have no id and no database; `ddl` is what its writer meant as its schema.
    """

    object: Literal["example"] = "example"
    example_id: str | None = None
    database_id: str | None = None
    domain: str
    split: str
    level: Level
    hardness: str | None = None
    question: str
    evidence: str | None = None
    sql: str
    writer: str
    source: str
    model: str | None = None
    dataset: str | None = None
    reason: str | None = None
    detail: str | None = None
    ddl: str | None = None


class BrowsedExamples(PageBase):
    """Examples of one set of a job, in the set's order."""

    data: list[BrowsedExample]
    set: str
    collected: bool = Field(description="False while the set is still being written: shards as they are done")


class ExampleCounts(ApiObject):
    """What there is to filter by; counts over at most `looked_at` rows, all of them where `complete`."""

    object: Literal["example_counts"] = "example_counts"
    sets: list[str] = Field(description="sets of this job, e.g. train, test")
    set: str | None
    looked_at: int = 0
    complete: bool = True
    domains: dict[str, int] = Field(default_factory=dict)
    levels: dict[str, int] = Field(default_factory=dict)
    hardness: dict[str, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)


class BrowsedPair(ApiObject):
    """A preference pair with its question. `collected` pairs are those that training reads."""

    object: Literal["pair"] = "pair"
    example_id: str
    database_id: str | None = None
    domain: str | None = None
    level: Level | None = None
    question: str | None = None
    evidence: str | None = None
    gold: str | None = None
    chosen: str
    rejected: str
    chosen_outcome: Outcome
    rejected_outcome: Outcome
    rejected_verdict: Verdict
    rejected_message: str | None = None
    model: str
    policy: str
    distance: int = 0
    suite_databases: int = 0
    gold_chosen: bool = False
    dataset: str | None = None


class BrowsedPairs(PageBase):
    """Pairs of a job; `collected` is False while pairs are still being built."""

    data: list[BrowsedPair]
    collected: bool


class BrowsedPrediction(ApiObject):
    """A model's answer to one example with its verdict."""

    object: Literal["prediction"] = "prediction"
    example_id: str
    database_id: str | None = None
    domain: str | None = None
    level: Level | None = None
    hardness: str | None = None
    question: str | None = None
    evidence: str | None = None
    gold: str | None = None
    slot: int
    model: str
    answer: str
    sql: str | None = None
    verdict: Verdict
    policy: Policy
    outcome: Outcome
    message: str | None = None
    result: ResultView | None = None
    gold_result: ResultView | None = None


class BrowsedPredictions(PageBase):
    """Judged answers of one stage; `stages` are those that have some to show."""

    data: list[BrowsedPrediction]
    stage: str | None
    stages: list[str]


class TrainingCurve(PageBase):
    """A training curve, a line a step: step, total_steps, loss, lr, epoch, tokens, seconds; for DPO margin, accuracy.

    Steps that were scored have `execution_accuracy` (share of so many `questions` of the selection split).

    `live`: the run is not over, these are the lines that it has told so far.
    """

    stage: str
    live: bool
    data: list[dict[str, float | None]]


class ReportSummary(ApiObject):
    """A report as lists show it: its first findings, and its arms with their titles."""

    object: Literal["report"] = "report"
    job_id: str
    job_name: str
    kind: str
    stage: str
    created_at: float | None = None
    questions: int = 0
    findings: list[str] = Field(default_factory=list)
    arms: dict[str, str] = Field(default_factory=dict, description="id to title")
    sets: list[str] = Field(default_factory=list)


class ReportList(PageBase):
    """Reports, newest job first; `last_id` is a job's id."""

    data: list[ReportSummary]


class Report(ReportSummary):
    """A whole report. `document` is its JSON form (the artifact `report.json`), `artifacts` all its forms."""

    document: dict[str, Any]
    artifacts: list[Artifact] = Field(default_factory=list)


class ArmAnswer(ApiObject):
    """What an arm answered; `ex` is 1 where it counts as right."""

    slot: int = 0
    sql: str | None = None
    verdict: str
    outcome: str
    ex: int


class ReportQuestion(ApiObject):
    """A question of a report with the answers of its arms. `scored` is False where its gold cannot be used."""

    object: Literal["question"] = "question"
    index: int
    example_id: str
    database_id: str
    domain: str
    level: str
    hardness: str | None = None
    set: str
    question: str
    evidence: str | None = None
    gold: str
    scored: bool
    arms: dict[str, list[ArmAnswer]]


class ReportQuestions(PageBase):
    """Questions of a report in its order."""

    data: list[ReportQuestion]


class ComparedSide(ApiObject):
    """One arm of one report; `accuracy` (0 to 1) is over the questions that both sides answered."""

    job_id: str
    job_name: str
    arm: str
    title: str
    accuracy: float | None
    alone: int = Field(default=0, description="scored questions that only this side answered")


class ComparedQuestion(ApiObject):
    """A question that both sides answered, with what each said."""

    object: Literal["compared_question"] = "compared_question"
    question: ReportQuestion
    left: list[ArmAnswer]
    right: list[ArmAnswer]


class ReportComparison(PageBase):
    """Two arms on the questions that both answered. `points` is right minus left, in percentage points.

    The 95 % interval is normal, with errors clustered by database; absent with fewer than two databases. `p_value` is
    McNemar's exact one, absent for sampled answers. `won` are questions where the right side scores higher.
    """

    left: ComparedSide
    right: ComparedSide
    set: str | None
    questions: int
    databases: int
    points: float | None
    low: float | None = None
    high: float | None = None
    won: int
    lost: int
    p_value: float | None = None
    data: list[ComparedQuestion]


class CheckedSpec(ApiObject):
    """A spec without faults: as it was `given`, and whole, with every default."""

    object: Literal["spec"] = "spec"
    kind: str
    given: dict[str, Any]
    spec: dict[str, Any]
