"""/v1/reports: list them, read one, browse its questions, compare two."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from services.gateway.access import READ, GuardedRoute
from services.gateway.artifacts import REPORT_TASK
from services.gateway.backend import Backend
from services.gateway.jobs_reader import JobReader, find_job
from services.gateway.jobs_routes import Back
from services.gateway.listing import matching, place_of, stages_of
from services.gateway.paging import After, Limit, Source, find_page, read_place
from services.gateway.report_compare import Shown, Side, compare_sides
from services.gateway.reports_reader import ReportReader, arm_mean, read_question
from shared.client.browse import (
    Report,
    ReportComparison,
    ReportList,
    ReportQuestion,
    ReportQuestions,
    ReportSummary,
)
from shared.errors import InvalidInputError

BATCH = 100
Text = Annotated[str | None, Query(max_length=200)]
Only = Literal["all", "wrong", "right", "lost", "won", "differ"]
router = APIRouter(prefix="/v1/reports", tags=["reports"], route_class=GuardedRoute)


def find_report(job: Annotated[JobReader, Depends(find_job)]) -> ReportReader:
    """The report of the job that the address names."""
    return ReportReader(job)


Known = Annotated[ReportReader, Depends(find_report)]


@router.get("", dependencies=READ, summary="List reports, newest job first")
def list_reports(
    backend: Back,
    after: Annotated[str | None, Query(max_length=64, description="the `last_id` of the page before")] = None,
    limit: Limit = 20,
) -> ReportList:
    """Reports of the jobs that Redis knows; those of archived jobs are read by their job's id."""
    data: list[ReportSummary] = []
    for reader in walk_reports(backend, after):
        if len(data) == limit:
            return ReportList(data=data, has_more=True, last_id=data[-1].job_id)
        data.append(reader.summary(reader.document()))
    return ReportList(data=data, has_more=False, last_id=data[-1].job_id if data else None)


def walk_reports(backend: Backend, after: str | None) -> Iterator[ReportReader]:
    """Every report of a job older than `after`. Raises `InvalidInputError` for an unknown cursor."""
    ids = matching(backend.jobs, 0 if after is None else place_of(backend.jobs, after) + 1, None, None, None)
    while some := list(islice(ids, BATCH)):
        stages = stages_of(backend.jobs, some)
        for job_id in some:
            if any(row.task == REPORT_TASK and row.state.done for row in stages[job_id]):
                yield ReportReader(JobReader(backend, job_id))


@router.get("/compare", dependencies=READ, summary="Compare an arm of one report with an arm of another")
def compare_reports(
    backend: Back,
    left: Annotated[str, Query(max_length=64, description="a job's id")],
    left_arm: Annotated[str, Query(max_length=200)],
    right: Annotated[str, Query(max_length=64)],
    right_arm: Annotated[str, Query(max_length=200)],
    name: Annotated[str | None, Query(alias="set", max_length=200, description="default: all sets")] = None,
    show: Shown = "differ",
    after: After = None,
    limit: Limit = 20,
) -> ReportComparison:
    """Paired, over the questions that both answered: an example's id is the same in every job."""
    sides = [Side(ReportReader(find_job(job, backend)), arm) for job, arm in ((left, left_arm), (right, right_arm))]
    return compare_sides(sides[0], sides[1], name, show, read_place(after), limit)


@router.get("/{job_id}", dependencies=READ, summary="Read a job's report")
def get_report(report: Known) -> Report:
    """The whole document; `artifacts` lists its other forms."""
    document = report.document()
    artifacts = [one for one, _ in report.job.artifacts(single_only=True).values() if one.stage == report.row.stage]
    return Report(**dict(report.summary(document)), document=document, artifacts=artifacts)


@router.get("/{job_id}/questions", dependencies=READ, summary="Browse the questions of a report")
def list_questions(
    report: Known,
    arm: Text = None,
    against: Text = None,
    name: Annotated[str | None, Query(alias="set", max_length=200)] = None,
    only: Only = "all",
    after: After = None,
    limit: Limit = 20,
) -> ReportQuestions:
    """`wrong` and `right` are of `arm`; `lost`, `won` and `differ` are of `arm` against the arm `against`."""
    start = read_place(after)
    if (only != "all" and arm is None) or (only in ("lost", "won", "differ") and against is None):
        raise InvalidInputError(f"only={only} needs arm{' and against' if only != 'wrong' else ''}")

    def make(line: bytes) -> ReportQuestion | None:
        found = read_question(line)
        fits = name in (None, found.set) and (only == "all" or wanted(found, only, arm or "", against or ""))
        return found if fits else None

    page = find_page([Source(0, 0, partial(report.questions))], start, limit, make)
    return ReportQuestions(data=page.data, has_more=page.has_more, last_id=page.last_id)


def wanted(question: ReportQuestion, only: Only, arm: str, against: str) -> bool:
    """Whether a scored question is of that kind."""
    own = arm_mean(question, arm)
    if own is None or not question.scored:
        return False
    if only in ("wrong", "right"):
        return (own < 1) == (only == "wrong")
    other = arm_mean(question, against)
    if other is None:
        return False
    return {"lost": own < other, "won": own > other, "differ": own != other}[only]
