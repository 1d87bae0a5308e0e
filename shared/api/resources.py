"""Objects of the REST API: jobs, keys, databases, datasets, models. Times are seconds since 1970."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.catalog.databases import Scalar, SchemaCard
from shared.contracts.base import Owner
from shared.contracts.datasets import GoldHealth
from shared.contracts.records import Level, Policy

JobStatusName = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
StageStatus = Literal["waiting", "queued", "running", "done", "failed", "cancelled", "skipped"]
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
DATABASE_NAME = r"^[^\x00-\x1f\x7f]{0,100}$"
TERMINAL_EVENTS = frozenset(f"job.{status}" for status in TERMINAL)


def require_unicode(text: str) -> str:
    """Refuses lone surrogates, which JSON can spell and nothing after it can carry. Raises ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds a character that is not valid Unicode") from None
    return text


UnicodeText = Annotated[str, AfterValidator(require_unicode)]


class ApiObject(BaseModel):
    """Unknown fields are ignored, so that an older client reads a newer gateway."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PageBase(ApiObject):
    """Part of a list: `last_id` is the next page's `after`.

    A page may hold fewer rows than asked for, even none, and still have more behind it: so many rows are looked at for
    one answer, and a filter may pass few of them.
    """

    object: Literal["list"] = "list"
    has_more: bool
    last_id: str | None = None


class JobError(ApiObject):
    """Why a job failed: a stable code and a sentence."""

    code: str
    message: str


class Progress(ApiObject):
    """Shards known so far: later stages add theirs when they begin."""

    done: int = 0
    total: int = 0
    failed: int = 0
    unit: Literal["shards"] = "shards"


class Stage(ApiObject):
    """One stage of a job: shards by state, and the sums of what its finished shards counted."""

    id: str
    task: str = ""
    status: StageStatus
    total: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    closed: bool = Field(default=False, description="no more shards will be added")
    counts: dict[str, int] = Field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None


class Artifact(ApiObject):
    """An output of a finished shard; `name` fetches it, `filename` is what it is saved as; `size` in bytes."""

    object: Literal["artifact"] = "artifact"
    name: str
    filename: str
    content_type: str
    size: int
    sha256: str
    stage: str
    shard: int


class JobSummary(ApiObject):
    """A job as lists show it; `stage` names the stages that run now."""

    object: Literal["job"] = "job"
    id: str
    kind: str
    name: str
    status: JobStatusName
    epoch: int = Field(default=1, description="1, and one more for every retry")
    stage: list[str] = Field(default_factory=list)
    progress: Progress = Progress()
    error: JobError | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    request_id: str | None = None
    owner: Owner | None = Field(default=None, description="the key that submitted it; none where no key was needed")

    @property
    def terminal(self) -> bool:
        """Nothing of it will run again unless it is retried."""
        return self.status in TERMINAL


class Job(JobSummary):
    """A whole job. `artifacts` are those of single-shard stages; the list of all is an address of its own."""

    spec: dict[str, Any] = Field(default_factory=dict)
    stages: list[Stage] = Field(default_factory=list)
    artifacts: list[Artifact] = Field(default_factory=list)
    archived: bool = Field(default=False, description="read from the archive: Redis does not know the job any more")


class JobEvent(ApiObject):
    """A record of a job's stream: a fact, or progress for people who watch. `id` resumes a stream."""

    object: Literal["event"] = "event"
    id: str
    type: str
    name: str
    job_id: str
    stage: str | None = None
    shard: int | None = None
    created_at: float
    data: dict[str, Any] = Field(default_factory=dict)


class JobList(PageBase):
    """A page of jobs, newest first; `last_id` is the next page's `after`."""

    data: list[JobSummary]


class EventList(PageBase):
    """A page of events, oldest first; `last_id` is the next page's `after`."""

    data: list[JobEvent]


class ArtifactList(ApiObject):
    """Every artifact of a job, in the order of its stages."""

    object: Literal["list"] = "list"
    data: list[Artifact]
    has_more: bool = False


class Fault(ApiObject):
    """One thing wrong with a request: where, and what."""

    path: str
    message: str


class Problem(ApiObject):
    """RFC 9457 problem details, with a stable `code` and, for what was sent, every fault."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str | None = None
    errors: list[Fault] = Field(default_factory=list)


class ExecuteRequest(BaseModel):
    """One SQL for one database. Absent budgets are 2 seconds and 100 rows; the operator bounds both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_id: UnicodeText = Field(max_length=200)
    sql: UnicodeText
    deadline_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_rows: int | None = Field(default=None, ge=0)


class ExecutionResult(ApiObject):
    """What one SQL did. `outcome` is `ok` or `empty` where it ran; `message` says why it did not.

    `rows` holds the first `max_rows`, `row_count` counts all; `truncated`: rows or parts of cells are not shown.
    """

    object: Literal["execution"] = "execution"
    outcome: str
    rows: list[list[Scalar]] = Field(default_factory=list)
    columns: list[str] = Field(default_factory=list)
    row_count: int = 0
    truncated: bool = False
    elapsed_ms: float = 0.0
    message: str | None = None


KeyRole = Literal["metrics", "read", "submit", "admin"]
KEY_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"


class KeyLimits(ApiObject):
    """What one key may use; what is null is the server's to say. Days are UTC's; dollars and tokens those of the
    operator's endpoints, not of the engine.
    """

    jobs: int | None = Field(default=None, ge=1, description="jobs that are not over")
    examples: int | None = Field(default=None, ge=1, description="examples that one job asks for")
    usd_per_day: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    tokens_per_day: int | None = Field(default=None, ge=0, lt=2**53)
    stored_bytes: int | None = Field(default=None, ge=0, lt=2**53, description="databases and datasets it has brought")


class KeySummary(ApiObject):
    """A bearer key as lists show it: never its text. `per_minute` is how many calls it may make a minute.

    What a key made belongs to its `id`, which no later key of the same name has.
    """

    object: Literal["key"] = "key"
    id: str = ""
    name: str
    role: KeyRole
    per_minute: int
    limits: KeyLimits = KeyLimits()
    created_at: float


class KeyRequest(ApiObject):
    """What is asked for: `metrics` reads /metrics alone, `read` looks, `submit` also runs jobs and questions and
    removes what is its own, `admin` does everything.
    """

    name: str = Field(pattern=KEY_NAME)
    role: KeyRole = "submit"
    per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    limits: KeyLimits = KeyLimits()


class KeyChange(ApiObject):
    """What is to be another: fields that are not given stay, a limit of null is the server's again."""

    per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    limits: KeyLimits = KeyLimits()


class CreatedKey(KeySummary):
    """A new key; `key` is shown this once and kept nowhere."""

    key: str


class KeyList(ApiObject):
    """All keys by name."""

    object: Literal["list"] = "list"
    data: list[KeySummary]
    has_more: bool = False
    last_id: str | None = None


class DatabaseSummary(ApiObject):
    """An uploaded database as lists show it; `id` is the SHA-256 of the file, `size` its bytes.

    `warnings` say what is odd about it. Triggers never fire.
    """

    object: Literal["database"] = "database"
    id: str
    name: str
    size: int
    tables: int
    views: int = 0
    triggers: int = 0
    warnings: list[str] = Field(default_factory=list)
    created_at: float
    owner: Owner | None = None


class Database(ApiObject):
    """A stored database: its schema card, and how it came here where it was uploaded: jobs build databases too."""

    object: Literal["database"] = "database"
    id: str
    size: int | None = Field(default=None, description="bytes; absent for databases built by an older version")
    upload: DatabaseSummary | None = None
    card: SchemaCard


class DatabaseList(PageBase):
    """A page of uploaded databases, newest first; `last_id` is the next page's `after`."""

    data: list[DatabaseSummary]


class DatasetSummary(ApiObject):
    """A dataset as lists show it: `splits` and `databases` are counts, `hardness` counts by split.

    `policy` is the rule of its official score, `ceiling` the best score its golds allow (0 to 1), `skipped` counts
    questions left out at the import by the database that was missing.
    """

    object: Literal["dataset"] = "dataset"
    name: str
    version: str
    format: str
    policy: Policy
    licence: str
    release: str | None = None
    questions: int
    splits: dict[str, int]
    hardness: dict[str, dict[str, int]]
    databases: int
    ceiling: float | None = None
    skipped: dict[str, int] = Field(default_factory=dict)
    created_at: float
    owner: Owner | None = None


class DatasetVersion(ApiObject):
    """One stored version of a dataset; `version` is a hash of its content."""

    version: str
    created_at: float
    questions: int


class Dataset(DatasetSummary):
    """A whole dataset. `sources` are SHA-256 of the files it came from, `health` is how its golds ran."""

    sources: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    health: GoldHealth | None = None
    database_ids: dict[str, str]
    versions: list[DatasetVersion]


class DatasetList(PageBase):
    """A page of datasets, newest first; `last_id` is the next page's `after`."""

    data: list[DatasetSummary]


class DatasetExample(ApiObject):
    """A question of a dataset with its gold; `domain` is the database's name."""

    object: Literal["example"] = "example"
    example_id: str
    index: int | None = None
    database_id: str
    domain: str
    split: str
    level: Level
    hardness: str | None = None
    question: str
    evidence: str | None = None
    gold: str


class ExampleList(PageBase):
    """A page of examples in the dataset's order; `dataset` is NAME@VERSION, `last_id` the next page's `after`."""

    dataset: str
    data: list[DatasetExample]


class LineageStep(ApiObject):
    """One step of how a model came to be."""

    name: str
    method: str
    job_id: str
    stage: str
    data: str = Field(description="the object that it was trained on")


class Adapter(ApiObject):
    """A trained model: an adapter (`mode` lora) or full weights. `lineage` begins with itself; lists leave it out."""

    object: Literal["adapter"] = "adapter"
    id: str
    base: str
    parent: str | None
    method: str
    mode: str
    job_id: str
    stage: str
    data_key: str
    data_sha256: str
    code_version: str
    prompt_version: str
    weight_bytes: int
    facts: dict[str, Any]
    lineage: list[LineageStep] = Field(default_factory=list)


class AdapterList(ApiObject):
    """A page of trained models."""

    object: Literal["list"] = "list"
    data: list[Adapter]
    has_more: bool = False
    last_id: str | None = None


class ServedModel(ApiObject):
    """A model that the engine answers for."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "sense"


class ModelList(ApiObject):
    """What is served now."""

    object: Literal["list"] = "list"
    data: list[ServedModel]
