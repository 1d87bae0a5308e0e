"""/v1/jobs/ID/pairs: the preference pairs that training reads or, before they are collected, those built so far."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.browsing.predictions import ShardExamples
from services.gateway.http.access import READ, GuardedRoute
from services.gateway.http.paging import After, Cursor, Limit, RecordSource, parse_cursor, read_page
from services.gateway.jobs.service import CurrentJob
from shared.api.browsing import BrowsedPair, BrowsedPairs
from shared.contracts.base import ObjectRef
from shared.contracts.records import Outcome, Pair, Verdict
from shared.jobs.plan import JobPlan
from shared.jobs.reading import JobReader
from shared.storage.records import parse_line, read_lines

COLLECT, BUILD = "pairing.collect", "pairing.build_pairs"
EXAMPLE_FIELDS = ("database_id", "domain", "level", "question", "evidence", "gold", "dataset")
FilterValue = Annotated[str | None, Query(max_length=200)]
PairReader = Callable[[], BrowsedPair]
router = APIRouter(prefix="/v1/jobs", tags=["browse"], route_class=GuardedRoute)


@router.get("/{job_id}/pairs", dependencies=READ, summary="Browse a job's preference pairs")
def list_pairs(
    job: CurrentJob,
    domain: FilterValue = None,
    verdict: Verdict | None = None,
    outcome: Outcome | None = None,
    after: After = None,
    limit: Limit = 20,
) -> BrowsedPairs:
    """Pairs in training order; `verdict` and `outcome` are of the rejected side."""
    start = parse_cursor(after)
    sources, collected = pair_sources(job, start)

    def make(row: PairReader) -> BrowsedPair | None:
        view = row()
        fits = domain in (None, view.domain) and verdict in (None, view.rejected_verdict)
        return view if fits and outcome in (None, view.rejected_outcome) else None

    page = read_page(sources, start, limit, make)
    return BrowsedPairs(data=page.data, has_more=page.has_more, last_id=page.last_id, collected=collected)


def pair_sources(job: JobReader, start: Cursor) -> tuple[Iterator[RecordSource[PairReader]], bool]:
    plan = job.plan()
    for stage in plan.stages if plan else []:
        if stage.task == COLLECT and (ref := job.finished_output(stage.id, "pairs")):
            return iter([RecordSource(0, 0, partial(collected_pairs, job, ref))]), True
    return (built_sources(job, plan, start) if plan else iter(())), False


def collected_pairs(job: JobReader, ref: ObjectRef) -> Iterator[PairReader]:
    return (partial(view_pair, line) for line in read_lines(job.objects, ref.key))


def built_sources(job: JobReader, plan: JobPlan, start: Cursor) -> Iterator[RecordSource[PairReader]]:
    for number, stage in enumerate(one for one in plan.stages if one.task == BUILD):
        # Sources before the cursor are not even listed: listing reads the shards of a stage.
        if number < start.source:
            continue
        examples = ShardExamples(job, plan, stage.id)
        for shard, ref in job.finished_outputs(stage.id, "pairs", start.shard if number == start.source else 0):
            yield RecordSource(number, shard, partial(built_pairs, job, examples, shard, ref))


def built_pairs(job: JobReader, examples: ShardExamples, shard: int, ref: ObjectRef) -> Iterator[PairReader]:
    return (partial(view_pair, line, examples, shard) for line in read_lines(job.objects, ref.key))


def view_pair(line: bytes, examples: ShardExamples | None = None, shard: int = 0) -> BrowsedPair:
    pair = parse_line(line, Pair, "an object of pairs")
    names = BrowsedPair.model_fields.keys() - {"object", "suite_databases"}
    shown = {name: value for name, value in pair.model_dump().items() if name in names}
    # A pair carries its question only once it is collected.
    if examples and (example := examples.of(shard).get(pair.example_id)):
        shown |= {name: getattr(example, name) for name in EXAMPLE_FIELDS}
    return BrowsedPair.model_validate({**shown, "suite_databases": pair.chosen_suite_databases})
