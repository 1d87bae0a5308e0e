"""The spec: one YAML file describes a job, and every field has a default that works.

A spec holds no secret and no server path: endpoints are named profiles that the server's operator has set. What can be
known from the spec alone is checked here, so that no job fails after its data has been paid for.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.contracts.datasets import DatasetSplit, Sha256, parse_dataset_ref
from shared.contracts.pairing import PairPolicy
from shared.contracts.records import AnswerTarget, Level, Policy, PromptStyle
from shared.contracts.training import FULL_WEIGHT_PRESETS, TrainSettings
from shared.errors import InvalidInputError

BUILTIN_TESTS = ("builtin:held-out", "builtin:handwritten")
# pydantic puts the tag of a union into the path of a fault; `describe_fault` takes it out.
SYNTHESIS_TAG, DATASET_TAG = "<synthesis>", "<dataset>"


# Everything in a spec is bounded: it becomes stages, records and requests on a machine that other jobs share.
MAX_SOURCES, MAX_TEST_SETS = 32, 16
Count = Annotated[int, Field(ge=1, le=10_000_000)]
TokenBudget = Annotated[int, Field(ge=1, le=10**15)]
DollarBudget = Annotated[float, Field(gt=0, le=10**6)]


class SpecSection(BaseModel):
    """A section of a spec; an unknown field is an error, and so is a text that no name or reference needs."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=500, allow_inf_nan=False)


def default_levels() -> dict[Level, float]:
    """The shares of the demo: a small model learns little from many hard examples."""
    return {"easy": 0.5, "medium": 0.35, "hard": 0.15}


class SynthesisSource(SpecSection):
    """`synthesis` examples written at the shares of `levels`, `per_shard` at a time (default: by the writer).

    `user_database_share` of them is for the spec's `databases`, half where it is not said; the rest is cross-domain.
    """

    synthesis: int = Field(default=320, ge=4, le=1_000_000)
    levels: dict[Level, Annotated[float, Field(ge=0, le=1_000_000)]] = Field(default_factory=default_levels)
    per_shard: int | None = Field(default=None, ge=1, le=1000)
    user_database_share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def check_levels(self) -> "SynthesisSource":
        if sum(self.levels.values()) <= 0:
            raise ValueError("levels need at least one share above zero, e.g. {easy: 0.5, medium: 0.35, hard: 0.15}")
        return self


def check_dataset_ref(text: str) -> str:
    parse_dataset_ref(text)
    return text


class DatasetSource(SpecSection):
    """A stored dataset: a share `weight` of a split (default `train`), at most `questions` of it."""

    dataset: str = Field(description="NAME, its newest version; or NAME@VERSION")
    split: DatasetSplit | None = None
    weight: float = Field(default=1.0, gt=0, le=1)
    questions: Count | None = None

    _check_dataset = field_validator("dataset")(check_dataset_ref)


def source_kind(value: object) -> str:
    named = isinstance(value, DatasetSource) or (isinstance(value, dict) and "dataset" in value)
    return DATASET_TAG if named else SYNTHESIS_TAG


TrainSource = Annotated[
    Annotated[SynthesisSource, Tag(SYNTHESIS_TAG)] | Annotated[DatasetSource, Tag(DATASET_TAG)],
    Discriminator(source_kind),
]


def default_sources() -> list[SynthesisSource | DatasetSource]:
    return [SynthesisSource()]


class TrainSources(SpecSection):
    """Where training data comes from; `pairs` is where the weak model is sampled, by default the same as `sft`."""

    sft: list[TrainSource] = Field(default_factory=default_sources, min_length=1, max_length=MAX_SOURCES)
    pairs: list[TrainSource] | None = Field(default=None, min_length=1, max_length=MAX_SOURCES)


class SeedSource(SpecSection):
    """A stored dataset whose examples the strong model is shown, two a call, in place of our own."""

    dataset: str = Field(description="NAME, its newest version; or NAME@VERSION")
    split: DatasetSplit | None = None

    _check_dataset = field_validator("dataset")(check_dataset_ref)


class UserDatabase(SpecSection):
    """A database of the user's, by its id: `sense databases add FILE` prints it, `sense submit` fills it in."""

    id: Sha256


class TestSet(SpecSection):
    """A test set: scored once an arm, refused by every training export.

    `dataset` is builtin:held-out, builtin:handwritten, or a stored dataset. Of a stored one, `split` is by default
    `dev`, else `test`; `policy` is its official one and `strict` stands beside it; with `samples` above 1 answers are
    drawn at `temperature` (default 1).
    """

    # pytest would take a class of this name for tests.
    __test__ = False

    dataset: str = Field(examples=list(BUILTIN_TESTS))
    split: DatasetSplit | None = None
    questions: Count | None = None
    metrics: list[Literal["ex"]] = Field(
        default=["ex"], min_length=1, max_length=8, description="execution accuracy, so far"
    )
    policy: Policy | None = None
    samples: int = Field(default=1, ge=1, le=64)
    temperature: float | None = Field(default=None, gt=0, le=2)

    @property
    def builtin(self) -> bool:
        return self.dataset in BUILTIN_TESTS

    @field_validator("dataset")
    @classmethod
    def check_dataset(cls, text: str) -> str:
        return text if text in BUILTIN_TESTS else check_dataset_ref(text)

    @model_validator(mode="after")
    def check_asking(self) -> "TestSet":
        if self.builtin and (self.samples > 1 or self.temperature or self.split or self.policy):
            raise ValueError("a built-in set takes `questions` only; sampling and policies are for datasets")
        if self.samples == 1 and self.temperature:
            raise ValueError("a temperature needs `samples` above 1: one answer is greedy")
        return self


def default_tests() -> list[TestSet]:
    return [TestSet(dataset="builtin:held-out", questions=132), TestSet(dataset="builtin:handwritten")]


class Selection(SpecSection):
    """The selection split: decides promotion, never reported as a test score."""

    questions: Count = 40


class Sampling(SpecSection):
    """Answers at temperature 1 for the sampled rows of the report."""

    questions: int = Field(default=40, ge=0, le=10_000_000)
    samples: int = Field(default=8, ge=2, le=64)


BUILTIN_BASE = "builtin:smollm2-135m"
BUILTIN_BASES = (BUILTIN_BASE,)
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SERVED_MODEL_TAG, ENDPOINT_MODEL_TAG = "<served>", "<endpoint>"


def check_base(ref: str) -> str:
    """Checks the form only; a worker looks at hubs and folders. Raises ValueError."""
    known = ref in BUILTIN_BASES if ref.startswith("builtin:") else ref.startswith(("/", ".", "~"))
    if not known and not HUB_NAME.fullmatch(ref):  # models/NAME looks like a hub's name
        forms = "org/name of a hub, models/NAME of this store, or an allowed folder"
        raise ValueError(f"{ref[:80]!r} is no base model; write {', '.join(BUILTIN_BASES)}, {forms}")
    return ref


Base = Annotated[str, AfterValidator(check_base)]


class StrongModel(SpecSection):
    """Who writes: an endpoint's model, or, with no endpoint, the offline grammar writer."""

    endpoint: str | None = None
    model: str | None = None
    temperature: float = Field(default=0.9, ge=0, le=2)
    max_tokens: int = Field(default=2000, ge=64, le=32_000, description="tokens that an answer may have")
    budget_usd: DollarBudget | None = None
    budget_tokens: TokenBudget | None = Field(default=None, description="of prompts and answers together")
    seeds: SeedSource | None = Field(default=None, description="default: the built-in seed examples")
    evidence: bool = Field(default=False, description="ask for BIRD's external knowledge too")
    judge: bool = Field(
        default=False,
        description="ask the model back whether each SQL answers its question; a clear no rejects the example. A fifth "
        "of the budget is set aside for it",
    )
    agreement: bool = Field(default=True, description="reject examples whose question and SQL speak of other values")
    suite_databases: int = Field(
        default=4,
        ge=0,
        le=32,
        description="variants of an invented database on which a gold is run: one with the same result on all is "
        "constant, and rejected; 0: off. The offline writer's golds are not constant by their making",
    )
    follow_errors: float = Field(
        default=0.0,
        ge=0,
        le=4,
        description="a second wave, so many times as large as the first, of what the weak model fails at most; in "
        "pipelines",
    )
    follow_questions: int = Field(
        default=96,
        ge=8,
        le=10_000,
        description="questions of the first wave on which the weak model is measured",
    )

    @model_validator(mode="after")
    def check_model(self) -> "StrongModel":
        if self.judge and self.endpoint is None:
            raise ValueError("strong.judge needs an endpoint and a model to ask; or leave judge out")
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("strong needs both endpoint and model, or neither for the offline grammar writer")
        if self.endpoint is None and (self.seeds is not None or self.evidence):
            raise ValueError("seeds and evidence are for a strong model: name its endpoint and model too")
        return self


class WeakModel(SpecSection):
    """Who makes the mistakes: an endpoint's model, or a base of ours, fine-tuned first when `sft_first`."""

    base: Base = BUILTIN_BASE
    sft_first: bool = True
    endpoint: str | None = None
    model: str | None = None
    samples: int = Field(default=8, ge=2, le=64)
    temperature: float = Field(default=1.0, gt=0, le=2)
    sweep: list[Annotated[float, Field(gt=0, le=2)]] | None = Field(
        default=None,
        min_length=2,
        max_length=5,
        description="temperatures to try first, e.g. [0.6, 0.8, 1.0]; the one with the most questions that have right "
        "and wrong answers is used in place of `temperature`",
    )
    sweep_questions: int = Field(default=48, ge=8, le=1000, description="questions that each temperature is tried on")
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=8, le=32_000)
    questions: Count | None = Field(default=None, description="how many training questions to sample; None: all")
    budget_usd: DollarBudget | None = None
    budget_tokens: TokenBudget | None = Field(default=None, description="of prompts and answers together")

    @model_validator(mode="after")
    def check_model(self) -> "WeakModel":
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("weak needs both endpoint and model, or neither to use `base`")
        if self.sweep is not None and len(set(self.sweep)) < len(self.sweep):
            raise ValueError("a temperature stands twice in the sweep")
        return self


class Student(SpecSection):
    """What is trained: builtin:NAME, org/name of a hub, models/NAME of this store, or an allowed folder."""

    base: Base = BUILTIN_BASE
    method: Literal["lora", "full"] = "lora"


class PromptSettings(SpecSection):
    """What every prompt shows: 0 to 5 example rows a table, comments of the schema, a list of its foreign keys."""

    sample_rows: int = Field(default=3, ge=0, le=5)
    comments: bool = False
    foreign_keys: bool = False


class PairSettings(SpecSection):
    """Which pairs are built, how many are kept, and below how many DPO is skipped and said to be.

    `policy`: one_per_question (any right answer against any wrong one), nearest and farthest (in tokens), hardest (the
    wrong answer that most samples share), all_capped (at most `per_question`), gold_chosen (the gold where no sample is
    right).
    """

    policy: PairPolicy = "one_per_question"
    per_question: int = Field(default=4, ge=1, le=64, description="what all_capped takes of a question at most")
    length_ratio: float = Field(
        default=4.0, ge=1, le=1_000_000, description="how many times as long as the other a side may be"
    )
    syntax_share: float = Field(
        default=0.25, ge=0, le=1, description="the most that answers which SQLite cannot parse may be of the rejected"
    )
    max_length: int | None = Field(
        default=None,
        ge=16,
        le=10_000_000,
        description="tokens a pair may have with its prompt; default: the max_length of `dpo`",
    )
    suite_databases: int = Field(
        default=4, ge=0, le=32, description="variants of the database on which a right answer must be right too"
    )
    limit: Count | None = None
    minimum: Count = 8


class EndpointModel(SpecSection):
    """A model of an endpoint profile."""

    endpoint: str
    model: str
    budget_usd: DollarBudget | None = None
    budget_tokens: TokenBudget | None = Field(default=None, description="of prompts and answers together")


def model_kind(value: object) -> str:
    return SERVED_MODEL_TAG if isinstance(value, str) else ENDPOINT_MODEL_TAG


ScoredModel = Annotated[
    Annotated[str, Tag(SERVED_MODEL_TAG)] | Annotated[EndpointModel, Tag(ENDPOINT_MODEL_TAG)], Discriminator(model_kind)
]


REASONING_TOKENS = 512
MAX_MODELS = 64
MAX_MODEL_TEST_PAIRS = 240  # models times test sets; each adds stages to the plan, which every step of the job reads


class JobSpec(SpecSection):
    """What every kind of job has."""

    name: str = Field(default="job", min_length=1, max_length=80, pattern=r"^[\w .:@+-]+$")
    seed: int = Field(default=7, ge=0, lt=2**31)
    prompt: PromptSettings = PromptSettings()
    target: AnswerTarget = Field(
        default="sql", description="what models are taught and asked: SQL, or reasoning before it"
    )
    lost_allowed: int = Field(default=0, ge=0, le=1_000_000, description="shards a stage may lose before the job fails")

    @property
    def style(self) -> PromptStyle:
        prompt = self.prompt
        return PromptStyle(comments=prompt.comments, foreign_keys=prompt.foreign_keys, target=self.target)

    @model_validator(mode="after")
    def check_training(self) -> "JobSpec":
        """Finds settings that exclude each other before any data is paid for, not when the training starts."""
        method = getattr(getattr(self, "student", None), "method", "lora")
        for section in ("sft", "dpo"):
            settings = getattr(self, section, None)
            if isinstance(settings, TrainSettings) and (reason := training_fault(settings, section, method)):
                raise ValueError(f"{section}: {reason}")
        return self

    @model_validator(mode="before")
    @classmethod
    def reserve_reasoning_tokens(cls, data: Any) -> Any:
        """Reasoning needs more tokens than SQL alone; limits that the spec sets stay."""
        if not isinstance(data, dict) or data.get("target") != "reasoning_sql":
            return data
        return with_reasoning_budget(data, set(cls.model_fields))


def training_fault(settings: TrainSettings, section: str, method: str) -> str | None:
    """Why a training with these settings cannot run, with the remedy; None if it can."""
    parallel = settings.preset in FULL_WEIGHT_PRESETS
    if parallel and method != "full":
        return f"the preset {settings.preset} trains all weights: set student.method: full, or choose another preset"
    if settings.score_steps is not None and parallel:
        return f"score_steps needs a training in one process, and {settings.preset} has several: leave it out"
    if method == "full" and settings.quantization == "4bit":
        return "a quantised base cannot be trained whole: use student.method: lora, or quantization: none"
    if section == "dpo" and method == "full" and settings.precompute_reference is False:
        return "full preference training computes its reference once: leave precompute_reference on"
    if settings.loss == "ipo" and settings.label_smoothing:
        return "label_smoothing belongs to the sigmoid loss: leave it out with loss: ipo"
    return None


def with_reasoning_budget(data: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """Sets token limits that the spec leaves open to `REASONING_TOKENS`; `fields` are those of the job's kind."""
    data = dict(data)
    if "answer_tokens" in fields and data.get("answer_tokens") is None:
        data["answer_tokens"] = REASONING_TOKENS
    weak = data.get("weak", {})
    if "weak" in fields and isinstance(weak, dict):
        # A `max_tokens` of the spec comes later and wins.
        data["weak"] = {"max_tokens": REASONING_TOKENS, **weak}
    return data


class WritingSpec(JobSpec):
    """Where examples come from, for kinds of job that make them."""

    train: TrainSources = TrainSources()
    strong: StrongModel = StrongModel()
    databases: list[UserDatabase] = Field(
        default_factory=list, max_length=100, description="schemas of your own to write for too"
    )

    @property
    def database_ids(self) -> list[str]:
        return [one.id for one in self.databases]

    @model_validator(mode="after")
    def check_databases(self) -> "WritingSpec":
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


def refuse_error_wave(strong: StrongModel) -> StrongModel:
    if strong.follow_errors:
        raise ValueError("follow_errors is for jobs of kind pipeline: it needs a weak model and an SFT after it")
    return strong


class SynthesisSpec(WritingSpec):
    """Write, verify and collect examples."""

    kind: Literal["synthesis"]

    _check_strong = field_validator("strong")(refuse_error_wave)


class PairingSpec(WritingSpec):
    """As synthesis, then sample a weak model and build pairs."""

    kind: Literal["pairing"]
    weak: WeakModel = WeakModel()
    student: Student = Student()
    sft: TrainSettings = TrainSettings()
    pairs: PairSettings = PairSettings()

    _check_strong = field_validator("strong")(refuse_error_wave)


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
    models: list[ScoredModel] = Field(min_length=1, max_length=MAX_MODELS)
    student: Student = Student()
    answer_tokens: int | None = Field(
        default=None, ge=8, le=4096, description="default: 128 for the built-in sets, 512 for datasets"
    )
    evaluate: list[TestSet] = Field(default_factory=default_tests, min_length=1, max_length=MAX_TEST_SETS)

    @model_validator(mode="after")
    def check_size(self) -> "EvaluationSpec":
        """Bounds the plan: each model on each test set adds stages."""
        if (asked := len(self.models) * len(self.evaluate)) > MAX_MODEL_TEST_PAIRS:
            raise ValueError(
                f"{asked} times a model on a test set; {MAX_MODEL_TEST_PAIRS} is the most of a job: make it several"
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
    evaluate: list[TestSet] = Field(default_factory=default_tests, min_length=1, max_length=MAX_TEST_SETS)

    @model_validator(mode="after")
    def check_wave(self) -> "PipelineSpec":
        if self.strong.follow_errors and not any(isinstance(one, SynthesisSource) for one in self.train.sft):
            raise ValueError("strong.follow_errors needs a {synthesis: N} among train.sft: the wave is a share of N")
        return self


AnySpec = Annotated[
    PipelineSpec | SynthesisSpec | PairingSpec | SftSpec | DpoSpec | DeploymentSpec | EvaluationSpec,
    Field(discriminator="kind"),
]
SPEC: TypeAdapter[AnySpec] = TypeAdapter(AnySpec)
KINDS = ("pipeline", "synthesis", "pairing", "sft", "dpo", "deployment", "evaluation")
MAX_FAULTS = 50  # that one error lists
UNION_TAGS = (SYNTHESIS_TAG, DATASET_TAG, SERVED_MODEL_TAG, ENDPOINT_MODEL_TAG)


class SpecError(InvalidInputError):
    """A spec that cannot be used: its first faults, each with its path, and how many `more` there are."""

    code = "invalid_spec"

    def __init__(self, faults: list[dict[str, str]], more: int = 0) -> None:
        self.faults, count = faults[:MAX_FAULTS], len(faults) + more
        self.more = count - len(self.faults)
        lines = "; ".join(f"{fault['path']}: {fault['message']}" for fault in self.faults)
        super().__init__(f"the spec has {count} fault(s): {lines}")


def describe_fault(error: Any) -> dict[str, str]:
    # The kind and the tags of unions are pydantic's, not keys of the user's file.
    path = error["loc"][1:] if error["loc"] and error["loc"][0] in KINDS else error["loc"]
    where = [str(part) for part in path if part not in (*UNION_TAGS, "[key]")]
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "there is no such field; check its spelling, or leave it out"
    return {"path": ".".join(where) or "(spec)", "message": message}


def parse_spec(data: object) -> AnySpec:
    """Raises `SpecError` with all faults at once."""
    if not isinstance(data, dict):
        raise SpecError([{"path": "(spec)", "message": "must be a mapping with at least `kind`"}])
    try:
        return SPEC.validate_python(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise SpecError(
            [describe_fault(fault) for fault in found[:MAX_FAULTS]], max(0, len(found) - MAX_FAULTS)
        ) from error


def used_datasets(spec: AnySpec) -> set[str]:
    """Stored datasets that a job of this spec reads, as NAME or NAME@VERSION."""
    # Not every kind of job has these sections.
    train, strong = getattr(spec, "train", TrainSources()), getattr(spec, "strong", StrongModel())
    sources = [one for one in [*train.sft, *(train.pairs or [])] if isinstance(one, DatasetSource)]
    tests = [one for one in getattr(spec, "evaluate", []) if not one.builtin]
    return {one.dataset for one in (*sources, *tests, *([strong.seeds] if strong.seeds else []))}


def used_databases(spec: AnySpec) -> set[str]:
    return set(getattr(spec, "database_ids", ()))
