"""/v1/reports: list and read reports, browse their questions, compare two arms."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from services.gateway.backend import Backend, CurrentBackend
from services.gateway.http.access import READ, GuardedRoute
from services.gateway.http.paging import After, Limit, RecordSource, parse_cursor, read_page
from services.gateway.jobs.service import REPORT_TASK, find_artifacts, find_job
from services.gateway.reports.service import (
    ComparedArm,
    ReportReader,
    ShownQuestions,
    arm_accuracy,
    compare_arms,
    read_question,
)
from shared.api.browsing import (
    Report,
    ReportComparison,
    ReportList,
    ReportQuestion,
    ReportQuestions,
    ReportSummary,
)
from shared.errors import InvalidInputError
from shared.jobs.reading import JobReader, iterate_job_ids, job_rank, read_stages

BATCH = 100
Text = Annotated[str | None, Query(max_length=200)]
QuestionFilter = Literal["all", "wrong", "right", "lost", "won", "differ"]
router = APIRouter(prefix="/v1/reports", tags=["reports"], route_class=GuardedRoute)


def find_report(job: Annotated[JobReader, Depends(find_job)]) -> ReportReader:
    return ReportReader(job)


CurrentReport = Annotated[ReportReader, Depends(find_report)]


@router.get("", dependencies=READ, summary="List reports, newest job first")
def list_reports(
    backend: CurrentBackend,
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
    ids = iterate_job_ids(backend.jobs, 0 if after is None else job_rank(backend.jobs, after) + 1, None, None, None)
    while some := list(islice(ids, BATCH)):
        stages = read_stages(backend.jobs, some)
        for job_id in some:
            if any(row.task == REPORT_TASK and row.state.done for row in stages[job_id]):
                yield ReportReader(JobReader(backend.jobs, backend.objects, job_id))


@router.get("/compare", dependencies=READ, summary="Compare an arm of one report with an arm of another")
def compare_reports(
    backend: CurrentBackend,
    left: Annotated[str, Query(max_length=64, description="a job's id")],
    left_arm: Annotated[str, Query(max_length=200)],
    right: Annotated[str, Query(max_length=64)],
    right_arm: Annotated[str, Query(max_length=200)],
    name: Annotated[str | None, Query(alias="set", max_length=200, description="default: all sets")] = None,
    show: ShownQuestions = "differ",
    after: After = None,
    limit: Limit = 20,
) -> ReportComparison:
    """Paired, over the questions that both answered: an example's id is the same in every job."""
    sides = [
        ComparedArm(ReportReader(find_job(job, backend)), arm) for job, arm in ((left, left_arm), (right, right_arm))
    ]
    return compare_arms(sides[0], sides[1], name, show, parse_cursor(after), limit)


@router.get("/{job_id}", dependencies=READ, summary="Read a job's report")
def get_report(report: CurrentReport) -> Report:
    """The whole document; `artifacts` lists its other forms."""
    document = report.document()
    artifacts = [one for one, _ in find_artifacts(report.job, single_only=True).values()]
    artifacts = [one for one in artifacts if one.stage == report.row.stage]
    return Report(**dict(report.summary(document)), document=document, artifacts=artifacts)


@router.get("/{job_id}/questions", dependencies=READ, summary="Browse the questions of a report")
def list_questions(
    report: CurrentReport,
    arm: Text = None,
    against: Text = None,
    name: Annotated[str | None, Query(alias="set", max_length=200)] = None,
    only: QuestionFilter = "all",
    after: After = None,
    limit: Limit = 20,
) -> ReportQuestions:
    """`wrong` and `right` are of `arm`; `lost`, `won` and `differ` are of `arm` against the arm `against`."""
    start = parse_cursor(after)
    if (only != "all" and arm is None) or (only in ("lost", "won", "differ") and against is None):
        raise InvalidInputError(f"only={only} needs arm{' and against' if only != 'wrong' else ''}")

    def make(line: bytes) -> ReportQuestion | None:
        found = read_question(line)
        fits = name in (None, found.set) and (only == "all" or matches_filter(found, only, arm or "", against or ""))
        return found if fits else None

    page = read_page([RecordSource(0, 0, partial(report.questions))], start, limit, make)
    return ReportQuestions(data=page.data, has_more=page.has_more, last_id=page.last_id)


def matches_filter(question: ReportQuestion, only: QuestionFilter, arm: str, against: str) -> bool:
    own = arm_accuracy(question, arm)
    if own is None or not question.scored:
        return False
    if only in ("wrong", "right"):
        return (own < 1) == (only == "wrong")
    other = arm_accuracy(question, against)
    if other is None:
        return False
    return {"lost": own < other, "won": own > other, "differ": own != other}[only]
