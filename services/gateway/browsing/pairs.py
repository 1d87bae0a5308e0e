"""The preference pairs of a job: those that training reads, or, before they are collected, those built so far."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.browsing.predictions import ShardExamples
from services.gateway.http.access import READ, GuardedRoute
from services.gateway.http.paging import After, Cursor, Limit, RecordSource, finished_outputs, parse_cursor, read_page
from services.gateway.jobs.routes import CurrentJob
from services.gateway.jobs.service import JobReader
from shared.api.browsing import BrowsedPair, BrowsedPairs
from shared.contracts.base import ObjectRef
from shared.contracts.records import DpoRecord, Example, Outcome, Pair, Verdict
from shared.jobs.plan import JobPlan
from shared.storage.records import parse_line, read_lines

COLLECT, BUILD = "pairing.collect", "pairing.build_pairs"
EVIDENCE, QUESTION = "\nExternal knowledge: ", "\nQuestion: "
Name = Annotated[str | None, Query(max_length=200)]
PairReader = Callable[[], BrowsedPair]
router = APIRouter(prefix="/v1/jobs", tags=["browse"], route_class=GuardedRoute)


@router.get("/{job_id}/pairs", dependencies=READ, summary="Browse a job's preference pairs")
def list_pairs(
    job: CurrentJob,
    domain: Name = None,
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
    """Where pairs lie, and whether they are collected."""
    plan = job.plan()
    for stage in plan.stages if plan else []:
        if stage.task == COLLECT:
            pairs, dpo = (next(finished_outputs(job, stage.id, output), None) for output in ("pairs", "dpo"))
            if pairs and dpo:
                return iter([RecordSource(0, 0, partial(collected_pairs, job, pairs[1], dpo[1]))]), True
    return (built_sources(job, plan, start) if plan else iter(())), False


def collected_pairs(job: JobReader, pairs: ObjectRef, dpo: ObjectRef) -> Iterator[PairReader]:
    """A pair and the training row made from it stand in the same line of their objects."""
    objects = job.backend.objects
    for one, two in zip(read_lines(objects, pairs.key), read_lines(objects, dpo.key), strict=True):
        yield partial(view_collected, one, two)


def built_sources(job: JobReader, plan: JobPlan, start: Cursor) -> Iterator[RecordSource[PairReader]]:
    """The shards of pairs that are done."""
    for number, stage in enumerate(one for one in plan.stages if one.task == BUILD):
        if number < start.source:
            continue
        examples = ShardExamples(job, plan, stage.id)
        for shard, ref in finished_outputs(job, stage.id, "pairs", start.shard if number == start.source else 0):
            yield RecordSource(number, shard, partial(built_pairs, job, examples, shard, ref))


def built_pairs(job: JobReader, examples: ShardExamples, shard: int, ref: ObjectRef) -> Iterator[PairReader]:
    """The pairs of one shard."""
    for line in read_lines(job.backend.objects, ref.key):
        yield partial(view_built, line, examples, shard)


def view_collected(line: bytes, training: bytes) -> BrowsedPair:
    """The question is what the training prompt ends with."""
    pair = parse_line(line, Pair, "an object of pairs")
    row = parse_line(training, DpoRecord, "an object of training pairs")
    text, _, question = row.prompt[-1].content.rpartition(QUESTION)
    _, told, evidence = text.rpartition(EVIDENCE)
    return view_pair(
        pair,
        database_id=row.database_id,
        domain=row.domain,
        question=question,
        evidence=evidence if told else None,
        dataset=row.dataset,
    )


def view_built(line: bytes, examples: ShardExamples, shard: int) -> BrowsedPair:
    """With the example of its shard."""
    pair = parse_line(line, Pair, "an object of pairs")
    example: Example | None = examples.of(shard).get(pair.example_id)
    fields = ("database_id", "domain", "level", "question", "evidence", "gold", "dataset")
    return view_pair(pair, **{name: getattr(example, name) for name in fields} if example else {})


def view_pair(pair: Pair, **more: str | None) -> BrowsedPair:
    """A pair as the API shows it."""
    names = set(BrowsedPair.model_fields) - {"object", "neighbours"}
    own = {name: value for name, value in pair.model_dump().items() if name in names}
    return BrowsedPair.model_validate({**own, **more, "neighbours": pair.chosen_neighbours})
