"""What models answered and what became of it: the judged answers of a job, stage by stage."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.access import READ, GuardedRoute
from services.gateway.jobs_reader import JobReader
from services.gateway.jobs_routes import Known
from services.gateway.paging import After, Limit, Place, Source, find_page, finished, read_place
from services.gateway.upstream import ShardExamples
from shared.client.browse import BrowsedPrediction, BrowsedPredictions
from shared.contracts.records import Judged, Outcome, Verdict
from shared.contracts.refs import ObjectRef
from shared.errors import NotFoundError
from shared.jobs.plan import JobPlan
from shared.storage.records import parse_line, read_lines

JUDGE, OUTPUT = "sandbox.judge_candidates", "judged"
ANSWER_CHARACTERS = 20_000
Line = tuple[bytes, int]
router = APIRouter(prefix="/v1/jobs", tags=["browse"], route_class=GuardedRoute)


@router.get("/{job_id}/predictions", dependencies=READ, summary="Browse the judged answers of a job")
def list_predictions(
    job: Known,
    stage: Annotated[str | None, Query(max_length=100, description="default: the first that has some")] = None,
    domain: Annotated[str | None, Query(max_length=200)] = None,
    verdict: Verdict | None = None,
    outcome: Outcome | None = None,
    after: After = None,
    limit: Limit = 20,
) -> BrowsedPredictions:
    """Answers in the order of their questions, with verdicts and both results."""
    plan, start = job.plan(), read_place(after)
    stages = judged_stages(job, plan)
    if stage is not None and stage not in stages:
        message = f"job {job.job_id} has no judged answers of that stage; it has: {', '.join(stages) or 'none yet'}"
        raise NotFoundError(message, code="stage_not_found")
    chosen = stage or (stages[0] if stages else None)
    if plan is None or chosen is None:
        return BrowsedPredictions(data=[], has_more=False, stage=None, stages=[])
    examples = ShardExamples(job, plan, chosen)

    def make(line: Line) -> BrowsedPrediction | None:
        row = parse_line(line[0], Judged, "an object of judged answers")
        if verdict not in (None, row.verdict) or outcome not in (None, row.outcome):
            return None
        view = view_prediction(row, examples, line[1])
        return view if domain in (None, view.domain) else None

    page = find_page(judged_sources(job, chosen, start), start, limit, make)
    return BrowsedPredictions(data=page.data, has_more=page.has_more, last_id=page.last_id, stage=chosen, stages=stages)


def judged_stages(job: JobReader, plan: JobPlan | None) -> list[str]:
    """Stages with at least one finished shard of judged answers."""
    names = [stage.id for stage in (plan.stages if plan else []) if stage.task == JUDGE]
    return [name for name in names if next(finished(job, name, OUTPUT), None) is not None]


def judged_sources(job: JobReader, stage: str, start: Place) -> Iterator[Source[Line]]:
    """The stage's shards."""
    for shard, ref in finished(job, stage, OUTPUT, start.shard):
        yield Source(0, shard, partial(numbered, job, shard, ref))


def numbered(job: JobReader, shard: int, ref: ObjectRef) -> Iterator[Line]:
    """Lines with their shard, by which their question is found."""
    return ((line, shard) for line in read_lines(job.backend.objects, ref.key))


def view_prediction(row: Judged, examples: ShardExamples, shard: int) -> BrowsedPrediction:
    """An answer with its question; long answers are cut for people."""
    candidate = row.candidate
    example = examples.of(shard).get(candidate.example_id)
    fields = ("database_id", "domain", "level", "hardness", "question", "evidence")
    known = {name: getattr(example, name) for name in fields} if example else {}
    return BrowsedPrediction(
        **known,
        example_id=candidate.example_id,
        gold=row.gold or (example.gold if example else None),
        slot=candidate.slot,
        model=candidate.model,
        answer=candidate.answer[:ANSWER_CHARACTERS],
        sql=candidate.sql,
        verdict=row.verdict,
        policy=row.policy,
        outcome=row.outcome,
        message=row.message,
        result=row.result,
        gold_result=row.gold_result,
    )
