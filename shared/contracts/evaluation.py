"""Evaluation: questions answered by a served model, then scored with their evidence."""

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Command, Counts, Queue, RecordSlice, StageRef, TaskContract
from shared.contracts.records import Policy, PromptStyle


class AnswerQuestions(Command):
    """Asks a served model a slice of questions: greedy at temperature 0, else `samples` a question.

    `model_from` is a stage that has chosen the model; it goes before `model`.
    """

    examples: RecordSlice
    shots_from: StageRef | None = None
    shots: int = Field(default=0, ge=0, le=8)
    endpoint: str
    model: str
    samples: int = Field(default=1, ge=1, le=64)
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 128
    seed: int = 0
    sample_rows: int = 3
    style: PromptStyle = PromptStyle()
    budget_usd: float | None = None
    budget_tokens: int | None = None
    model_from: StageRef | None = None


class AnsweredCounts(Counts):
    """Questions asked, answers got, answers without SQL; of these `cut_off` ended at their bound on tokens.

    `without_…`: answers asked for without a parameter that the endpoint does not take.
    """

    questions: int
    answers: int
    unextractable: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0
    calls: int = 0
    call_ms: int = 0
    cut_off: int = 0
    without_temperature: int = 0
    without_top_p: int = 0
    without_seed: int = 0


class ArmPlan(BaseModel):
    """One row of the report: which judged stage holds its verdicts and which training made its model.

    With `model_from` the model is what that stage has chosen; id, title and training are then those of its round.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    model: str
    judged: StageRef
    trained: StageRef | None = None
    shots: int = 0
    samples: int = 1
    temperature: float = 0.0
    selection: bool = False
    promotable: bool = False
    model_from: StageRef | None = None


class RoundPlan(BaseModel):
    """One round of preference training, by the names of its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(ge=1)
    sample: str
    judge: str
    pair: str
    collect: str
    train: str
    choose: str


class ChooseModel(Command):
    """Scores the models so far on the selection split and chooses the best: a tie keeps the earlier one.

    `arms` are in order of their rounds, the SFT model first; a round that was skipped has no answers.
    """

    arms: list[ArmPlan] = Field(min_length=1)
    dataset: StageRef


class ChosenCounts(Counts):
    """`round` of the model chosen (0: the SFT model); `kept` is 1 where it is the newest.

    `later` is 1 where it came out of round 2 or a later one. `correct` of `questions`: its selection score.
    """

    round: int
    kept: int
    later: int
    correct: int
    questions: int


class BenchmarkPlan(BaseModel):
    """A dataset that arms were asked: where its questions are, and the verdicts under its official policy.

    An arm's `judged` holds those verdicts; `strict`, by arm id, holds the same answers judged strictly, where the
    policy is another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(description="NAME@VERSION")
    split: str
    policy: Policy
    examples: StageRef
    arms: list[ArmPlan]
    strict: dict[str, StageRef] = Field(default_factory=dict)


class PairingPlan(BaseModel):
    """The stages that the first round's pairs went through, and how the weak model was sampled.

    `sweep` is the stage that chose the temperature, in place of `temperature`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: StageRef
    judge: StageRef
    pair: StageRef
    collect: StageRef
    sweep: StageRef | None = None
    samples: int
    temperature: float


class ErrorWavePlan(BaseModel):
    """The stages of the second wave of synthesis, from the answers that it follows to what it accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: StageRef
    profile: StageRef
    write: StageRef
    accepted: StageRef


class Score(Command):
    """Turns judged answers into a report and decides, on the selection split, which model is promoted."""

    arms: list[ArmPlan]
    benchmarks: list[BenchmarkPlan] = Field(default_factory=list)
    tests: list[StageRef]
    dataset: StageRef
    written: list[StageRef] = Field(default_factory=list, description="stages that wrote training examples")
    loaded: list[StageRef] = Field(default_factory=list, description="stages that loaded training examples")
    pairing: PairingPlan | None = None
    on_policy: bool = False
    weak_model: str | None = None
    rounds: list[RoundPlan] = Field(default_factory=list)
    minimum_pairs: int = 0
    error_wave: ErrorWavePlan | None = None
    seed: int = 0


class ScoredCounts(Counts):
    """Questions in the test sets and arms scored on them."""

    questions: int
    arms: int


ANSWER_QUESTIONS = TaskContract(
    name="evaluation.answer_questions",
    queue=Queue.EVALUATION,
    command=AnswerQuestions,
    event="questions.answered",
    counts=AnsweredCounts,
    outputs=("candidates", "examples"),
    hard_limit_s=3600,
)
SCORE = TaskContract(
    name="evaluation.score",
    queue=Queue.EVALUATION,
    command=Score,
    event="report.written",
    counts=ScoredCounts,
    outputs=("report", "markdown", "html", "terminal", "questions"),
)
CHOOSE_MODEL = TaskContract(
    name="evaluation.choose_model",
    queue=Queue.EVALUATION,
    command=ChooseModel,
    event="model.chosen",
    counts=ChosenCounts,
    outputs=("choice",),
)
