"""Turns Redis hashes into the models of `state`, and back."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import redis
from pydantic import ValidationError

from shared.contracts.refs import Owner
from shared.jobs.connect import unavailable
from shared.jobs.state import ErrorInfo, JobRecord, JobStatus, ShardRow, ShardState, StageState

T = TypeVar("T")
# What reading a damaged record, row, plan or fact raises; `redis.ResponseError`, for one, where a key has another type.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, redis.ResponseError)


def checked(answer: Any) -> Any:
    """An answer out of a pipeline that was told not to raise: it raises here, where one answer costs only its own."""
    if isinstance(answer, redis.RedisError) and (away := unavailable(answer)) is not None:
        raise away from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def read_or(otherwise: T, read: Callable[[Any], T], answer: Any) -> T:
    """What `read` makes of an answer; the other where it cannot be read: a list is not one job's to break."""
    try:
        return read(checked(answer))
    except DAMAGE:
        return otherwise


def number(text: str | None) -> float | None:
    """A stored time, or None."""
    return float(text) if text else None


def read_error(text: str | None) -> ErrorInfo | None:
    """A stored error, or None."""
    return ErrorInfo.model_validate_json(text) if text and text != "{}" else None


def read_row(stage: str, shard: int, fields: Mapping[str, str]) -> ShardRow:
    """One row."""
    return ShardRow(
        stage=stage,
        shard=shard,
        state=ShardState(fields["state"]),
        attempt=int(fields["attempt"]),
        params=json.loads(fields.get("params") or "{}"),
        outputs=json.loads(fields.get("outputs") or "{}"),
        counts=json.loads(fields.get("counts") or "{}"),
        error=read_error(fields.get("error")),
        worker=fields.get("worker"),
        created_at=number(fields.get("created_at")),
        started_at=number(fields.get("started_at")),
        finished_at=number(fields.get("finished_at")),
    )


def read_job(fields: Mapping[str, str]) -> JobRecord:
    """One job."""
    return JobRecord(
        id=fields["id"],
        kind=fields["kind"],
        name=fields["name"],
        status=JobStatus(fields["status"]),
        spec=json.loads(fields["spec"]),
        epoch=int(fields.get("epoch", "1")),
        created_at=float(fields["created_at"]),
        started_at=number(fields.get("started_at")),
        finished_at=number(fields.get("finished_at")),
        error=read_error(fields.get("error")),
        request_id=fields.get("request_id") or None,
        owner=Owner(id=fields["owner_id"], name=fields.get("owner", "")) if fields.get("owner_id") else None,
    )


def salvage_job(job_id: str, fields: Mapping[str, str], error: Exception | None = None) -> JobRecord:
    """A job whose record cannot be read, as far as it can: lists go on, and it can be cancelled and removed."""

    def read(name: str, reader: Callable[[str], T], otherwise: T) -> T:
        try:
            return reader(fields[name])
        except DAMAGE:
            return otherwise

    why = f"the job's record cannot be read ({summarize(error)}); submit its spec again"
    return JobRecord(
        id=job_id,
        kind=fields.get("kind") or "unknown",
        name=fields.get("name") or job_id,
        status=read("status", JobStatus, JobStatus.FAILED),
        spec=read("spec", lambda text: dict(json.loads(text)), {}),
        epoch=read("epoch", int, 1),
        created_at=read("created_at", float, 0.0),
        started_at=read("started_at", number, None),
        finished_at=read("finished_at", number, None),
        error=read("error", read_error, None) or ErrorInfo(code="damaged_record", message=why),
        request_id=fields.get("request_id") or None,
    )


def summarize(error: Exception | None) -> str:
    """What is wrong, short enough for a sentence."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return f"{type(error).__name__}: {error}"[:300] if error else "its fields are missing"


def read_stage(fields: Mapping[str, str], existing: frozenset[int], finished: frozenset[int]) -> StageState:
    """A stage's counts and sums."""
    names = ("total", "queued", "running", "done", "failed", "cancelled")
    return StageState(
        **{name: int(fields.get(name, "0")) for name in names},
        closed=fields.get("closed") == "1",
        skipped=fields.get("skipped") == "1",
        counts={key[6:]: int(value) for key, value in sorted(fields.items()) if key.startswith("count:")},
        existing=existing,
        finished=finished,
        first_start=number(fields.get("first_start")),
        last_end=number(fields.get("last_end")),
    )
