"""/v1/jobs/ID/predictions: judged answers, stage by stage."""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.http.access import READ, GuardedRoute
from services.gateway.http.paging import (
    After,
    Cursor,
    Limit,
    RecordSource,
    parse_cursor,
    read_page,
)
from services.gateway.jobs.service import CurrentJob
from shared.api.browsing import BrowsedPrediction, BrowsedPredictions
from shared.contracts.base import ObjectRef
from shared.contracts.records import Example, JudgedCandidate, Outcome, Verdict
from shared.errors import NotFoundError
from shared.jobs.plan import EachShard, JobPlan, StagePlan
from shared.jobs.reading import JobReader
from shared.jobs.state import ShardRecord
from shared.storage.records import parse_line, read_lines, read_records

EXAMPLES = "examples"


class ShardExamples:
    """The examples behind a stage's shards. Holds one shard's at a time: pages walk through shards in order."""

    def __init__(self, job: JobReader, plan: JobPlan, stage: str) -> None:
        self.job = job
        self.plan = plan
        self.stages = upstream_stages(plan, stage)
        self.held: tuple[int, dict[str, Example]] | None = None

    def of(self, shard: int) -> dict[str, Example]:
        """Examples of a shard by id; empty where no upstream stage has them."""
        if self.held is None or self.held[0] != shard:
            ref = self._ref(shard)
            rows = read_records(self.job.objects, ref, Example) if ref else ()
            self.held = (shard, {row.example_id: row for row in rows})
        return self.held[1]

    def _ref(self, shard: int) -> ObjectRef | None:
        for stage in self.stages:
            row = self._row(stage.id, shard)
            if row is not None and EXAMPLES in row.outputs:
                return row.outputs[EXAMPLES]
        return None

    def _row(self, stage: str, shard: int) -> ShardRecord | None:
        return self._archived.get((stage, shard)) if self.job.archived else self.job.find_shard(stage, shard)

    @cached_property
    def _archived(self) -> dict[tuple[str, int], ShardRecord]:
        """Reads the shards of these stages once, because an archive has no index."""
        found = (row for stage in self.stages for row in self.job.walk_shards(stage.id))
        return {(row.stage, row.shard): row for row in found}


def upstream_stages(plan: JobPlan, stage: str) -> list[StagePlan]:
    """The stages that feed this one shard by shard, nearest first."""
    found: list[StagePlan] = []
    source = plan.stage(stage).source
    while isinstance(source, EachShard):
        found.append(plan.stage(source.stage))
        source = found[-1].source
    return found


JUDGE, OUTPUT = "sandbox.judge_candidates", "judged"
ANSWER_CHARACTERS = 20_000
Line = tuple[bytes, int]
router = APIRouter(prefix="/v1/jobs", tags=["browse"], route_class=GuardedRoute)


@router.get("/{job_id}/predictions", dependencies=READ, summary="Browse the judged answers of a job")
def list_predictions(
    job: CurrentJob,
    stage: Annotated[str | None, Query(max_length=100, description="default: the first that has some")] = None,
    domain: Annotated[str | None, Query(max_length=200)] = None,
    verdict: Verdict | None = None,
    outcome: Outcome | None = None,
    after: After = None,
    limit: Limit = 20,
) -> BrowsedPredictions:
    """Answers in the order of their questions, with verdicts and both results."""
    plan, start = job.plan(), parse_cursor(after)
    stages = judged_stages(job, plan)
    if stage is not None and stage not in stages:
        message = f"job {job.job_id} has no judged answers of that stage; it has: {', '.join(stages) or 'none yet'}"
        raise NotFoundError(message, code="stage_not_found")
    chosen = stage or (stages[0] if stages else None)
    if plan is None or chosen is None:
        return BrowsedPredictions(data=[], has_more=False, stage=None, stages=[])
    examples = ShardExamples(job, plan, chosen)

    def make(line: Line) -> BrowsedPrediction | None:
        row = parse_line(line[0], JudgedCandidate, "an object of judged answers")
        if verdict not in (None, row.verdict) or outcome not in (None, row.outcome):
            return None
        view = view_prediction(row, examples, line[1])
        return view if domain in (None, view.domain) else None

    page = read_page(judged_sources(job, chosen, start), start, limit, make)
    return BrowsedPredictions(data=page.data, has_more=page.has_more, last_id=page.last_id, stage=chosen, stages=stages)


def judged_stages(job: JobReader, plan: JobPlan | None) -> list[str]:
    names = [stage.id for stage in (plan.stages if plan else []) if stage.task == JUDGE]
    return [name for name in names if job.finished_output(name, OUTPUT)]


def judged_sources(job: JobReader, stage: str, start: Cursor) -> Iterator[RecordSource[Line]]:
    for shard, ref in job.finished_outputs(stage, OUTPUT, start.shard):
        yield RecordSource(0, shard, partial(lines_with_shard, job, shard, ref))


def lines_with_shard(job: JobReader, shard: int, ref: ObjectRef) -> Iterator[Line]:
    return ((line, shard) for line in read_lines(job.objects, ref.key))


def view_prediction(row: JudgedCandidate, examples: ShardExamples, shard: int) -> BrowsedPrediction:
    candidate = row.candidate
    example = examples.of(shard).get(candidate.example_id)
    fields = ("database_id", "domain", "level", "hardness", "question", "evidence")
    return BrowsedPrediction(
        **{name: getattr(example, name) for name in fields if example},
        **row.model_dump(include={"verdict", "policy", "outcome", "message", "result", "gold_result"}),
        **candidate.model_dump(include={"example_id", "slot", "model", "sql"}),
        gold=row.gold or (example.gold if example else None),
        answer=candidate.answer[:ANSWER_CHARACTERS],
    )
