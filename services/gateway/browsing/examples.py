"""/v1/jobs/ID/examples: examples that were accepted, and those that were rejected with the reason."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from services.gateway.http.access import READ, GuardedRoute
from services.gateway.http.paging import After, Cursor, Limit, line_sources, parse_cursor
from services.gateway.http.paging import read_page as find_rows
from services.gateway.jobs.service import CurrentJob
from shared.api.browsing import BrowsedExample, BrowsedExamples, ExampleCounts
from shared.contracts.records import Example, Level, RejectedExample
from shared.contracts.synthesis import CollectSource
from shared.errors import NotFoundError
from shared.jobs.plan import JobPlan, StagePlan
from shared.jobs.reading import JobReader
from shared.storage.records import parse_line

COLLECT, LOAD = "synthesis.collect", "synthesis.load_dataset"
COUNTED_AT_MOST = 50_000
DDL_CHARACTERS = 20_000
WRITER_FIELDS = {"writer", "source", "model"}
Part = Literal["accepted", "selection", "rejected"]
Outputs = list[tuple[str, str]]
FilterValue = Annotated[str | None, Query(max_length=200)]
SetName = Annotated[str | None, Query(alias="set", max_length=100, description="default: the first")]
router = APIRouter(prefix="/v1/jobs", tags=["browse"], route_class=GuardedRoute)


@router.get("/{job_id}/examples", dependencies=READ, summary="Browse a job's examples")
def list_examples(
    job: CurrentJob,
    name: SetName = None,
    part: Part = "accepted",
    domain: FilterValue = None,
    level: Level | None = None,
    hardness: FilterValue = None,
    reason: FilterValue = None,
    after: After = None,
    limit: Limit = 20,
) -> BrowsedExamples:
    """Examples in the set's order; of a set that is not collected yet, those of the shards that are done."""
    chosen, start = find_set(job, name), parse_cursor(after)
    outputs, collected = set_outputs(job, chosen, part)
    wanted = {"domain": domain, "level": level, "hardness": hardness, "reason": reason}
    keep = [(field, value) for field, value in wanted.items() if value is not None]
    read = view_rejected if part == "rejected" else view_example

    def make(line: bytes) -> BrowsedExample | None:
        view = read(line)
        return view if all(getattr(view, field) == value for field, value in keep) else None

    page = find_rows(line_sources(job, outputs, start), start, limit, make)
    return BrowsedExamples(
        data=page.data, has_more=page.has_more, last_id=page.last_id, set=set_name(chosen), collected=collected
    )


@router.get(
    "/{job_id}/examples/counts", dependencies=READ, summary="Count a job's examples by what they can be filtered by"
)
def count_examples(job: CurrentJob, name: SetName = None, part: Part = "accepted") -> ExampleCounts:
    """Domains, levels, hardness and reasons of a set; a job without sets has empty counts."""
    names = [set_name(stage) for stage in example_sets(job.plan())]
    if not names and name is None:
        return ExampleCounts(sets=[], set=None)
    chosen = find_set(job, name)
    counts: dict[str, Counter[str]] = {field: Counter() for field in ("domain", "level", "hardness", "reason")}
    looked_at, complete = 0, True
    for view in walk_examples(job, chosen, part):
        # `complete` tells the reader that the counts are of a part of the set.
        if looked_at == COUNTED_AT_MOST:
            complete = False
            break
        looked_at += 1
        for field, counter in counts.items():
            if (value := getattr(view, field)) is not None:
                counter[value] += 1
    return ExampleCounts(
        sets=names,
        set=set_name(chosen),
        looked_at=looked_at,
        complete=complete,
        domains=dict(sorted(counts["domain"].items())),
        levels=dict(counts["level"]),
        hardness=dict(counts["hardness"]),
        reasons=dict(counts["reason"].most_common()),
    )


def walk_examples(job: JobReader, stage: StagePlan, part: Part) -> Iterator[BrowsedExample]:
    read = view_rejected if part == "rejected" else view_example
    for source in line_sources(job, set_outputs(job, stage, part)[0], Cursor()):
        yield from map(read, source.rows())


def example_sets(plan: JobPlan | None) -> list[StagePlan]:
    """Stages that hold a set: training first, then other collected sets, then loaded test sets."""
    stages = plan.stages if plan else []
    collected = [stage for stage in stages if stage.task == COLLECT]
    tests = [stage for stage in stages if stage.task == LOAD and stage.params.get("use") == "test"]
    return sorted(collected, key=lambda stage: set_name(stage) != "train") + tests


def set_name(stage: StagePlan) -> str:
    return str(stage.params.get("name") or stage.id)


def find_set(job: JobReader, name: str | None) -> StagePlan:
    """Raises `NotFoundError` (code set_not_found), which lists the sets of the job."""
    sets = example_sets(job.plan())
    found = next((stage for stage in sets if name in (None, set_name(stage))), None)
    if found is None:
        there = ", ".join(map(set_name, sets)) or "none yet"
        raise NotFoundError(f"job {job.job_id} has no such set of examples; it has: {there}", code="set_not_found")
    return found


def set_outputs(job: JobReader, stage: StagePlan, part: Part) -> tuple[Outputs, bool]:
    """(stage, output) pairs of a part, and whether the set is collected already."""
    if stage.task == LOAD:
        return ([(stage.id, "examples")] if part == "accepted" else []), True
    output = {"accepted": "examples", "selection": "selection", "rejected": "rejected"}[part]
    if job.finished_output(stage.id, output) is not None:
        return [(stage.id, output)], True
    # Not collected yet: the records are still with the stages that collecting will read.
    sources = [CollectSource.model_validate(source) for source in stage.params.get("sources", [])]
    if part == "accepted":
        return [(source.accepted.stage, "examples") for source in sources], False
    if part == "rejected":
        return [(one.stage.stage, one.output) for source in sources for one in source.rejected], False
    return [], False


def view_example(line: bytes) -> BrowsedExample:
    row = parse_line(line, Example, "an object of examples")
    return BrowsedExample(
        **row.model_dump(exclude={"gold", "provenance", "index"}),
        **row.provenance.model_dump(include=WRITER_FIELDS),
        sql=row.gold,
    )


def view_rejected(line: bytes) -> BrowsedExample:
    row = parse_line(line, RejectedExample, "an object of rejected examples")
    written = row.written
    ddl = "\n\n".join(written.database.ddl)[:DDL_CHARACTERS] if written.database else None
    return BrowsedExample(
        **written.model_dump(exclude={"database", "provenance"}),
        **written.provenance.model_dump(include=WRITER_FIELDS),
        reason=row.reason,
        detail=row.detail,
        ddl=ddl,
    )
