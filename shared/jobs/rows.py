"""Turns Redis hashes into the models of `state`, and back."""

import json
from collections.abc import Mapping

from shared.contracts.refs import Owner
from shared.jobs.state import ErrorInfo, JobRecord, JobStatus, ShardRow, ShardState, StageState


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
