"""The spec: one YAML file describes a job, and every field has a default that works.

A spec holds no secret and no server path: endpoints are named profiles that the server's operator has set.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from shared.contracts.records import PromptStyle, Target
from shared.contracts.spec_models import (
    ENDPOINT_TAG,
    SERVED_TAG,
    PairSettings,
    PromptSettings,
    ScoredModel,
    StrongModel,
    Student,
    WeakModel,
)
from shared.contracts.spec_sources import (
    DATASET_TAG,
    MOST_TESTS,
    SYNTHESIS_TAG,
    OwnDatabase,
    Sampling,
    Selection,
    SpecPart,
    SynthesisSource,
    TestSet,
    TrainSources,
    default_tests,
)
from shared.contracts.training import TrainSettings
from shared.errors import InvalidInputError

REASONING_TOKENS = 512
MOST_MODELS = 64
MOST_SCORED = 240  # models times test sets: each is some stages of the plan, which every step of the job looks at


class JobSpec(SpecPart):
    """What every kind of job has."""

    name: str = Field(default="job", min_length=1, max_length=80, pattern=r"^[\w .:@+-]+$")
    seed: int = Field(default=7, ge=0, lt=2**31)
    prompt: PromptSettings = PromptSettings()
    target: Target = Field(default="sql", description="what models are taught and asked: SQL, or reasoning before it")
    lost_allowed: int = Field(default=0, ge=0, le=1_000_000, description="shards a stage may lose before the job fails")

    @property
    def style(self) -> PromptStyle:
        """How every prompt of the job is written."""
        prompt = self.prompt
        return PromptStyle(comments=prompt.comments, foreign_keys=prompt.foreign_keys, target=self.target)

    @model_validator(mode="before")
    @classmethod
    def make_room(cls, data: Any) -> Any:
        """Reasoning needs more tokens than SQL alone, wherever the spec does not say how many."""
        if not isinstance(data, dict) or data.get("target") != "reasoning_sql":
            return data
        return with_room(data, set(cls.model_fields))


def with_room(data: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """The spec with the bounds on answers that it leaves open set to `REASONING_TOKENS`."""
    data = dict(data)
    if "answer_tokens" in fields and data.get("answer_tokens") is None:
        data["answer_tokens"] = REASONING_TOKENS
    weak = data.get("weak", {})
    if "weak" in fields and isinstance(weak, dict):
        data["weak"] = {"max_tokens": REASONING_TOKENS, **weak}
    return data


class WritingSpec(JobSpec):
    """Where examples come from, for kinds of job that make them."""

    train: TrainSources = TrainSources()
    strong: StrongModel = StrongModel()
    databases: list[OwnDatabase] = Field(
        default_factory=list, max_length=100, description="schemas of your own to write for too"
    )

    @property
    def own_ids(self) -> list[str]:
        """Ids of the databases to write for."""
        return [one.id for one in self.databases]

    @model_validator(mode="after")
    def check_databases(self) -> "WritingSpec":
        """A share of own databases needs some, and some need a source that writes."""
        sources = [*self.train.sft, *(self.train.pairs or [])]
        written = [one for one in sources if isinstance(one, SynthesisSource)]
        if not self.databases and any(one.user_database_share for one in written):
            raise ValueError("user_database_share needs databases to write for: databases: [{id: …}]")
        if self.databases and not written:
            raise ValueError("databases are written for by a synthesis source: add {synthesis: N} to train.sft")
        if self.databases and all(one.user_database_share == 0 for one in written):
            raise ValueError(
                "databases are named but every user_database_share is 0: raise it, or leave the databases out"
            )
        if len({one.id for one in self.databases}) < len(self.databases):
            raise ValueError("a database stands twice in databases")
        return self


def only_first_wave(strong: StrongModel) -> StrongModel:
    """Refuses a second wave where nothing is trained that could fail. Raises ValueError."""
    if strong.follow_errors:
        raise ValueError("follow_errors is for jobs of kind pipeline: it needs a weak model and an SFT after it")
    return strong


class SynthesisSpec(WritingSpec):
    """Write, verify and collect examples."""

    kind: Literal["synthesis"]

    _check_strong = field_validator("strong")(only_first_wave)


class PairingSpec(WritingSpec):
    """As synthesis, then sample a weak model and build pairs."""

    kind: Literal["pairing"]
    weak: WeakModel = WeakModel()
    student: Student = Student()
    sft: TrainSettings = TrainSettings()
    pairs: PairSettings = PairSettings()

    _check_strong = field_validator("strong")(only_first_wave)


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
    """Serve a trained model under its own name, or take it off the engine; it stays in the store."""

    kind: Literal["deployment"]
    model: str
    serve: bool = Field(default=True, description="false: the engine forgets it")
    student: Student = Student()


class EvaluationSpec(JobSpec):
    """Score trained models and their base, and models of endpoints, on test sets."""

    kind: Literal["evaluation"]
    models: list[ScoredModel] = Field(min_length=1, max_length=MOST_MODELS)
    student: Student = Student()
    answer_tokens: int | None = Field(
        default=None, ge=8, le=4096, description="default: 128 for the built-in sets, 512 for data sets"
    )
    evaluate: list[TestSet] = Field(default_factory=default_tests, min_length=1, max_length=MOST_TESTS)

    @model_validator(mode="after")
    def check_size(self) -> "EvaluationSpec":
        """So many models on so many sets make a plan that is no job any more."""
        if (asked := len(self.models) * len(self.evaluate)) > MOST_SCORED:
            raise ValueError(
                f"{asked} times a model on a test set; {MOST_SCORED} is the most of a job: make it several"
            )
        return self


class PipelineSpec(WritingSpec):
    """The whole of the paper: strong data, SFT, weak data, DPO, serving, report."""

    kind: Literal["pipeline"]
    weak: WeakModel = WeakModel()
    student: Student = Student()
    sft: TrainSettings = TrainSettings()
    dpo: TrainSettings = TrainSettings()
    pairs: PairSettings = PairSettings()
    selection: Selection = Selection()
    sampling: Sampling = Sampling()
    answer_tokens: int = Field(default=128, ge=8, le=32_000, description="tokens an answer may have")
    rounds: int = Field(
        default=1,
        ge=1,
        le=8,
        description="rounds of preference training: from the second on, the best model so far is sampled itself, and a "
        "round is kept where its model beats that one on the selection split",
    )
    evaluate: list[TestSet] = Field(default_factory=default_tests, min_length=1, max_length=MOST_TESTS)

    @model_validator(mode="after")
    def check_wave(self) -> "PipelineSpec":
        """The second wave is measured by what the first one writes."""
        if self.strong.follow_errors and not any(isinstance(one, SynthesisSource) for one in self.train.sft):
            raise ValueError("strong.follow_errors needs a {synthesis: N} among train.sft: the wave is a share of N")
        return self


AnySpec = Annotated[
    PipelineSpec | SynthesisSpec | PairingSpec | SftSpec | DpoSpec | DeploymentSpec | EvaluationSpec,
    Field(discriminator="kind"),
]
SPEC: TypeAdapter[AnySpec] = TypeAdapter(AnySpec)
KINDS = ("pipeline", "synthesis", "pairing", "sft", "dpo", "deployment", "evaluation")
MOST_FAULTS = 50  # that are told of
TAGS = (SYNTHESIS_TAG, DATASET_TAG, SERVED_TAG, ENDPOINT_TAG)


class SpecError(InvalidInputError):
    """A spec that cannot be used: its faults at once, each with its path, and how many there are beyond those."""

    code = "invalid_spec"

    def __init__(self, faults: list[dict[str, str]], more: int = 0) -> None:
        self.faults, count = faults[:MOST_FAULTS], len(faults) + more
        self.more = count - len(self.faults)
        lines = "; ".join(f"{fault['path']}: {fault['message']}" for fault in self.faults)
        super().__init__(f"the spec has {count} fault(s): {lines}")


def describe(error: Any) -> dict[str, str]:
    """One fault of a spec as a path and a sentence."""
    path = error["loc"][1:] if error["loc"] and error["loc"][0] in KINDS else error["loc"]
    where = [str(part) for part in path if part not in TAGS]
    return {"path": ".".join(where) or "(spec)", "message": str(error["msg"]).removeprefix("Value error, ")}


def parse_spec(data: object) -> AnySpec:
    """The typed spec. Raises `SpecError` with all faults."""
    if not isinstance(data, dict):
        raise SpecError([{"path": "(spec)", "message": "must be a mapping with at least `kind`"}])
    try:
        return SPEC.validate_python(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise SpecError([describe(fault) for fault in found[:MOST_FAULTS]], max(0, len(found) - MOST_FAULTS)) from error
