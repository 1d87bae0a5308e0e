"""Jobs, stages and shards as the store knows them, and how they are read from Redis hashes."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import redis
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.contracts.base import ObjectRef, Owner
from shared.redis import as_unavailable


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether no shard of the job will run again, unless the job is retried."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class ShardState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorInfo(BaseModel):
    """Why something failed: a stable code and a message."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str
    message: str
    retryable: bool = False


class ShardRecord(BaseModel):
    """A shard; times are seconds since 1970 by the clock of the Redis server."""

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
    """Shards of a stage by state, the sums of their counts, and which of them exist and are done.

    `existing` and `finished` may hold only some of the shards: see `JobStore.look`.
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
        """Whether no shard is queued or running."""
        return self.done + self.failed + self.cancelled == self.total

    @property
    def terminal(self) -> bool:
        """Whether no shard is left to run and none will be added."""
        return self.closed and self.idle


class JobRecord(BaseModel):
    """A job as users see it. It has no `owner` if no API key was needed to submit it."""

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


T = TypeVar("T")
# What reading a damaged job, shard, plan or event raises. A key of another type raises `redis.ResponseError`.
DAMAGE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, redis.ResponseError)


def raise_if_error(answer: Any) -> Any:
    """Raises the error of one answer of a pipeline that ran with `raise_on_error=False`."""
    # a server that is away must not look like damaged data
    if isinstance(answer, redis.RedisError) and (away := as_unavailable(answer)) is not None:
        raise away from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def read_or_default(otherwise: T, read: Callable[[Any], T], answer: Any) -> T:
    """Returns the default for a damaged answer, because one job must not break a list."""
    try:
        return read(raise_if_error(answer))
    except DAMAGE_ERRORS:
        return otherwise


def parse_time(text: str | None) -> float | None:
    return float(text) if text else None


def read_error(text: str | None) -> ErrorInfo | None:
    return ErrorInfo.model_validate_json(text) if text and text != "{}" else None


def read_shard(stage: str, shard: int, fields: Mapping[str, str]) -> ShardRecord:
    return ShardRecord(
        stage=stage,
        shard=shard,
        state=ShardState(fields["state"]),
        attempt=int(fields["attempt"]),
        params=json.loads(fields.get("params") or "{}"),
        outputs=json.loads(fields.get("outputs") or "{}"),
        counts=json.loads(fields.get("counts") or "{}"),
        error=read_error(fields.get("error")),
        worker=fields.get("worker"),
        created_at=parse_time(fields.get("created_at")),
        started_at=parse_time(fields.get("started_at")),
        finished_at=parse_time(fields.get("finished_at")),
    )


def read_job(fields: Mapping[str, str]) -> JobRecord:
    return JobRecord(
        id=fields["id"],
        kind=fields["kind"],
        name=fields["name"],
        status=JobStatus(fields["status"]),
        spec=json.loads(fields["spec"]),
        epoch=int(fields.get("epoch", "1")),
        created_at=float(fields["created_at"]),
        started_at=parse_time(fields.get("started_at")),
        finished_at=parse_time(fields.get("finished_at")),
        error=read_error(fields.get("error")),
        request_id=fields.get("request_id") or None,
        owner=Owner(id=fields["owner_id"], name=fields.get("owner", "")) if fields.get("owner_id") else None,
    )


def salvage_job(job_id: str, fields: Mapping[str, str], error: Exception | None = None) -> JobRecord:
    """Reads what it can of a damaged record, so that the job can be listed, cancelled and removed."""

    def read(name: str, reader: Callable[[str], T], otherwise: T) -> T:
        try:
            return reader(fields[name])
        except DAMAGE_ERRORS:
            return otherwise

    why = f"the job's record cannot be read ({summarize_error(error)}); submit its spec again"
    return JobRecord(
        id=job_id,
        kind=fields.get("kind") or "unknown",
        name=fields.get("name") or job_id,
        status=read("status", JobStatus, JobStatus.FAILED),
        spec=read("spec", lambda text: dict(json.loads(text)), {}),
        epoch=read("epoch", int, 1),
        created_at=read("created_at", float, 0.0),
        started_at=read("started_at", parse_time, None),
        finished_at=read("finished_at", parse_time, None),
        error=read("error", read_error, None) or ErrorInfo(code="damaged_record", message=why),
        request_id=fields.get("request_id") or None,
    )


def summarize_error(error: Exception | None) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return f"{type(error).__name__}: {error}"[:300] if error else "its fields are missing"


def read_stage(fields: Mapping[str, str], existing: frozenset[int], finished: frozenset[int]) -> StageState:
    names = ("total", "queued", "running", "done", "failed", "cancelled")
    return StageState(
        **{name: int(fields.get(name, "0")) for name in names},
        closed=fields.get("closed") == "1",
        skipped=fields.get("skipped") == "1",
        # 6 is the length of the prefix "count:"
        counts={key[6:]: int(value) for key, value in sorted(fields.items()) if key.startswith("count:")},
        existing=existing,
        finished=finished,
        first_start=parse_time(fields.get("first_start")),
        last_end=parse_time(fields.get("last_end")),
    )
