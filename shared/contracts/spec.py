"""The spec: one YAML file describes a job, and every field has a default that works.

A spec holds no secret and no server path: endpoints are named profiles that the server's operator has set.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from shared.contracts.pairing import PairPolicy
from shared.contracts.records import Level
from shared.contracts.training import TrainSettings
from shared.errors import InvalidInputError

BUILTIN_BASE = "builtin:smollm2-135m"


class SpecPart(BaseModel):
    """A section of a spec; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def default_levels() -> dict[Level, float]:
    """The shares of the demo: a small model learns little from many hard examples."""
    return {"easy": 0.5, "medium": 0.35, "hard": 0.15}


class SynthesisSource(SpecPart):
    """`synthesis` examples written at the shares of `levels`, `per_shard` at a time."""

    synthesis: int = Field(default=320, ge=4, le=1_000_000)
    levels: dict[Level, Annotated[float, Field(ge=0)]] = Field(default_factory=default_levels)
    per_shard: int = Field(default=20, ge=1, le=1000)

    @model_validator(mode="after")
    def check_levels(self) -> "SynthesisSource":
        """At least one level has a share."""
        if sum(self.levels.values()) <= 0:
            raise ValueError("levels need at least one share above zero, e.g. {easy: 0.5, medium: 0.35, hard: 0.15}")
        return self


class TrainSources(SpecPart):
    """Where training data comes from; `pairs` is where the weak model is sampled, by default the same as `sft`."""

    sft: list[SynthesisSource] = Field(default_factory=lambda: [SynthesisSource()], min_length=1)
    pairs: list[SynthesisSource] | None = Field(default=None, min_length=1)


class StrongModel(SpecPart):
    """Who writes: an endpoint's model, or, with no endpoint, the offline grammar writer."""

    endpoint: str | None = None
    model: str | None = None
    temperature: float = Field(default=0.9, ge=0, le=2)
    budget_usd: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def check_model(self) -> "StrongModel":
        """An endpoint without a model cannot be asked."""
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("strong needs both endpoint and model, or neither for the offline grammar writer")
        return self


class WeakModel(SpecPart):
    """Who makes the mistakes: an endpoint's model, or a base of ours, fine-tuned first when `sft_first`."""

    base: str = BUILTIN_BASE
    sft_first: bool = True
    endpoint: str | None = None
    model: str | None = None
    samples: int = Field(default=8, ge=2, le=64)
    temperature: float = Field(default=1.0, gt=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=8, le=4096)
    questions: int | None = Field(default=None, ge=1, description="how many training questions to sample; None: all")
    budget_usd: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def check_model(self) -> "WeakModel":
        """An endpoint without a model cannot be asked."""
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("weak needs both endpoint and model, or neither to use `base`")
        return self


class Student(SpecPart):
    """What is trained: builtin:NAME, org/name of a hub, models/NAME of this store, or an allowed folder."""

    base: str = BUILTIN_BASE
    method: Literal["lora", "full"] = "lora"


class PromptSettings(SpecPart):
    """Example rows a table in every prompt: 0 to 5."""

    rows: int = Field(default=3, ge=0, le=5)


class PairSettings(SpecPart):
    """Which pairs are built, how many are kept, and below how many DPO is skipped and said to be."""

    policy: PairPolicy = "one_per_question"
    limit: int | None = Field(default=None, ge=1)
    minimum: int = Field(default=8, ge=1)


class TestSet(SpecPart):
    """A test set: scored once an arm, refused by every training export."""

    __test__ = False

    dataset: Literal["builtin:held-out", "builtin:handwritten"]
    questions: int | None = Field(default=None, ge=1)


def default_tests() -> list[TestSet]:
    """Both built-in sets: unseen domains by template, and questions written by hand."""
    return [TestSet(dataset="builtin:held-out", questions=132), TestSet(dataset="builtin:handwritten")]


class Selection(SpecPart):
    """The selection split: decides promotion, never reported as a test score."""

    questions: int = Field(default=40, ge=1)


class Sampling(SpecPart):
    """Answers at temperature 1 for the sampled rows of the report."""

    questions: int = Field(default=40, ge=0)
    samples: int = Field(default=8, ge=2, le=64)


class JobSpec(SpecPart):
    """What every kind of job has."""

    name: str = Field(default="job", min_length=1, max_length=80, pattern=r"^[\w .:@+-]+$")
    seed: int = Field(default=7, ge=0, lt=2**31)
    prompt: PromptSettings = PromptSettings()
    lost_allowed: int = Field(default=0, ge=0, description="shards a stage may lose before the job fails")


class SynthesisSpec(JobSpec):
    """Write, verify and collect examples."""

    kind: Literal["synthesis"]
    train: TrainSources = TrainSources()
    strong: StrongModel = StrongModel()


class PairingSpec(JobSpec):
    """As synthesis, then sample a weak model and build pairs."""

    kind: Literal["pairing"]
    train: TrainSources = TrainSources()
    strong: StrongModel = StrongModel()
    weak: WeakModel = WeakModel()
    student: Student = Student()
    sft: TrainSettings = TrainSettings()
    pairs: PairSettings = PairSettings()


class SftSpec(JobSpec):
    """Fine-tune on the collected examples of a finished job."""

    kind: Literal["sft"]
    data: str = Field(pattern=r"^job:[\w-]+$", description="job:ID of a finished synthesis, pairing or pipeline job")
    student: Student = Student()
    sft: TrainSettings = TrainSettings()


class DpoSpec(JobSpec):
    """Preference training from a finished job's pairs, continuing `parent`."""

    kind: Literal["dpo"]
    data: str = Field(pattern=r"^job:[\w-]+$", description="job:ID of a finished pairing or pipeline job")
    parent: str = Field(description="name of the SFT model that is continued")
    student: Student = Student()
    dpo: TrainSettings = TrainSettings()


class DeploymentSpec(JobSpec):
    """Serve a trained model under its own name."""

    kind: Literal["deployment"]
    model: str
    student: Student = Student()


class EvaluationSpec(JobSpec):
    """Score trained models, and their base, on the built-in test sets."""

    kind: Literal["evaluation"]
    models: list[str] = Field(min_length=1)
    student: Student = Student()
    evaluate: list[TestSet] = Field(default_factory=default_tests, min_length=1)


class PipelineSpec(JobSpec):
    """The whole of the paper: strong data, SFT, weak data, DPO, serving, report."""

    kind: Literal["pipeline"]
    train: TrainSources = TrainSources()
    strong: StrongModel = StrongModel()
    weak: WeakModel = WeakModel()
    student: Student = Student()
    sft: TrainSettings = TrainSettings()
    dpo: TrainSettings = TrainSettings()
    pairs: PairSettings = PairSettings()
    selection: Selection = Selection()
    sampling: Sampling = Sampling()
    answer_tokens: int = Field(default=128, ge=8, le=4096, description="tokens an answer may have")
    evaluate: list[TestSet] = Field(default_factory=default_tests, min_length=1)


AnySpec = Annotated[
    PipelineSpec | SynthesisSpec | PairingSpec | SftSpec | DpoSpec | DeploymentSpec | EvaluationSpec,
    Field(discriminator="kind"),
]
SPEC: TypeAdapter[AnySpec] = TypeAdapter(AnySpec)
KINDS = ("pipeline", "synthesis", "pairing", "sft", "dpo", "deployment", "evaluation")


class SpecError(InvalidInputError):
    """A spec that cannot be used: every fault at once, each with its path."""

    code = "invalid_spec"

    def __init__(self, faults: list[dict[str, str]]) -> None:
        lines = "; ".join(f"{fault['path']}: {fault['message']}" for fault in faults)
        super().__init__(f"the spec has {len(faults)} fault(s): {lines}")
        self.faults = faults


def describe(error: Any) -> dict[str, str]:
    """One fault of a spec as a path and a sentence."""
    path = error["loc"][1:] if error["loc"] and error["loc"][0] in KINDS else error["loc"]
    where = [str(part) for part in path]
    return {"path": ".".join(where) or "(spec)", "message": str(error["msg"]).removeprefix("Value error, ")}


def parse_spec(data: object) -> AnySpec:
    """The typed spec. Raises `SpecError` with all faults."""
    if not isinstance(data, dict):
        raise SpecError([{"path": "(spec)", "message": "must be a mapping with at least `kind`"}])
    try:
        return SPEC.validate_python(data)
    except ValidationError as error:
        raise SpecError([describe(fault) for fault in error.errors(include_url=False)]) from error
