"""What the store knows of jobs, stages and shards, as `advance` and the API read it."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.refs import ObjectRef, Owner


class JobStatus(StrEnum):
    """`queued, running, cancelling` are alive; the rest are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """No shard of the job will run again, unless it is retried."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class ShardState(StrEnum):
    """The states of a row."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorInfo(BaseModel):
    """Why something failed: a stable code and a sentence."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str
    message: str
    retryable: bool = False


class ShardRow(BaseModel):
    """One row of the job store; times are seconds since the epoch by the Redis server's clock."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stage: str
    shard: int
    state: ShardState
    attempt: int
    params: dict[str, Any] = Field(default_factory=dict)
    outputs: dict[str, ObjectRef] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    error: ErrorInfo | None = None
    worker: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


class StageState(BaseModel):
    """Counts of a stage's rows, the sums of their counts, and which shards exist and are done.

    `existing` and `finished` may speak of some shards only: see `JobStore.look`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    total: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    closed: bool = False
    skipped: bool = False
    counts: dict[str, int] = Field(default_factory=dict)
    existing: frozenset[int] = frozenset()
    finished: frozenset[int] = frozenset()
    first_start: float | None = None
    last_end: float | None = None

    @property
    def idle(self) -> bool:
        """Nothing of it is queued or running."""
        return self.done + self.failed + self.cancelled == self.total

    @property
    def terminal(self) -> bool:
        """Closed, and every shard done, failed or cancelled."""
        return self.closed and self.idle


class JobRecord(BaseModel):
    """A job as users see it; archives keep it for longer than versions live.

    It has no `owner` where no key was needed to submit it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    kind: str
    name: str
    status: JobStatus
    spec: dict[str, Any]
    epoch: int = 1
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    error: ErrorInfo | None = None
    request_id: str | None = None
    owner: Owner | None = None
