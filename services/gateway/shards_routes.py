"""A job from the inside: the plan that it follows, and its shards with what became of them."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.access import READ, GuardedRoute
from services.gateway.jobs_routes import Known
from services.gateway.paging import After, Limit, Source, find_page, read_place, walk_rows
from shared.client.browse import JobPlan, PlanStage, PlanTarget, ShardError, ShardList, ShardStatus, ShardView
from shared.contracts.registry import CONTRACTS
from shared.jobs.plan import EachShard, StagePlan, Waves
from shared.jobs.state import ShardRecord

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute)


@router.get("/{job_id}/plan", dependencies=READ, summary="Look at a job's plan")
def get_plan(job: Known) -> JobPlan:
    """The stages and what each waits for."""
    plan = job.plan()
    if plan is None:
        return JobPlan(job_id=job.job_id)
    return JobPlan(job_id=job.job_id, lost_allowed=plan.lost_allowed, stages=[view_plan(one) for one in plan.stages])


def view_plan(stage: StagePlan) -> PlanStage:
    """A stage of the plan; of its parameters only the model's name is told."""
    source, model = stage.source, stage.params.get("model")
    target = source if isinstance(source, Waves) else None
    return PlanStage(
        id=stage.id,
        task=stage.task,
        queue=CONTRACTS[stage.task].queue.value,
        upstream=sorted(stage.upstream()),
        each=source.stage if isinstance(source, EachShard) else None,
        target=PlanTarget(stage=target.stage, count=target.count, amount=target.amount) if target else None,
        optional=stage.need is not None,
        device=stage.device.name if stage.device else None,
        model=model if isinstance(model, str) else None,
    )


@router.get("/{job_id}/shards", dependencies=READ, summary="List a job's shards")
def list_shards(
    job: Known,
    stage: Annotated[str | None, Query(max_length=100)] = None,
    state: ShardStatus | None = None,
    after: After = None,
    limit: Limit = 20,
) -> ShardList:
    """Shards in plan order, with the error of those that were lost."""
    plan, start = job.plan(), read_place(after)
    stages = [one.id for one in (plan.stages if plan else []) if stage is None or one.id == stage]

    def sources() -> Iterator[Source[ShardRecord]]:
        for number, name in enumerate(stages[start.source :], start=start.source):
            for row in walk_rows(job, name, start.shard if number == start.source else 0):
                yield Source(number, row.shard, partial(iter, [row]))

    page = find_page(sources(), start, limit, lambda row: view_shard(row) if state in (None, row.state.value) else None)
    return ShardList(data=page.data, has_more=page.has_more, last_id=page.last_id)


def view_shard(row: ShardRecord) -> ShardView:
    """A row without its parameters and keys."""
    error = row.error
    return ShardView(
        stage=row.stage,
        shard=row.shard,
        state=row.state.value,
        attempt=row.attempt,
        error=ShardError(code=error.code, message=error.message, retryable=error.retryable) if error else None,
        worker=row.worker,
        counts=row.counts,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
