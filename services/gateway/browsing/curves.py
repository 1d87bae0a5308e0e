"""/v1/jobs/ID/metrics-lines: the metrics that a training left or, while it runs, its progress so far."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.http.access import READ, GuardedRoute
from services.gateway.http.paging import After, RecordSource, open_lines, parse_cursor, read_page
from services.gateway.jobs.service import CurrentJob
from shared.api.browsing import TrainingCurve
from shared.errors import NotFoundError
from shared.jobs.reading import JobReader

TRAIN_TASK = "training.train_model"
MAX_LINES = 2000
router = APIRouter(prefix="/v1/jobs", tags=["browse"], route_class=GuardedRoute)


@router.get("/{job_id}/metrics-lines", dependencies=READ, summary="Read a training curve")
def list_metrics(
    job: CurrentJob,
    stage: Annotated[str, Query(max_length=100, description="a training stage, e.g. sft or dpo")],
    every: Annotated[int, Query(ge=1, le=1_000_000, description="one line in so many steps")] = 1,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES)] = 1000,
) -> TrainingCurve:
    """Lines in the order of their steps; a run that began anew tells steps twice, the later ones count."""
    plan, start = job.plan(), parse_cursor(after)
    if plan is None or stage not in [one.id for one in plan.stages if one.task == TRAIN_TASK]:
        raise NotFoundError(f"job {job.job_id} has no training stage of that name", code="stage_not_found")
    # While the training runs there is no metrics file: the lines come from its progress events.
    ref = job.finished_output(stage, "metrics")
    lines: Callable[[], Iterator[bytes]] = open_lines(job, ref) if ref else partial(read_progress_lines, job, stage)

    def make(line: bytes) -> dict[str, float | None] | None:
        found = {
            name: value for name, value in json.loads(line).items() if isinstance(value, int | float) or value is None
        }
        step = int(found.get("step") or 0)
        return found if step <= 1 or step % every == 0 or step == found.get("total_steps") else None

    page = read_page([RecordSource(0, 0, lines)], start, limit, make)
    return TrainingCurve(
        data=page.data, has_more=page.has_more, last_id=page.last_id, stage=stage, live=ref is None and not job.terminal
    )


def read_progress_lines(job: JobReader, stage: str) -> Iterator[bytes]:
    return (json.dumps(event.data).encode() for event in job.progress(stage) if "step" in event.data)
