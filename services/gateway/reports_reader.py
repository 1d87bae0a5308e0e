"""Reports of jobs: where they are, what they say, and their questions with every arm's answers."""

import json
from collections.abc import Iterator
from typing import Any

from services.gateway.artifacts import REPORT_TASK
from services.gateway.jobs_reader import JobReader
from services.gateway.paging import walk_rows
from shared.client.browse import ReportQuestion, ReportSummary
from shared.errors import NotFoundError
from shared.jobs.state import ShardRecord, ShardState
from shared.storage.records import CorruptObjectError, read_lines

FINDINGS = 4
QUESTION_FIELDS = set(ReportQuestion.model_fields) - {"object", "database_id", "arms"}


class ReportReader:
    """The report of a job. Raises `NotFoundError` (code report_not_found) where there is none."""

    def __init__(self, job: JobReader) -> None:
        self.job = job
        found = find_row(job)
        if found is None:
            raise NotFoundError(f"job {job.job_id} has no report; list them at /v1/reports", code="report_not_found")
        self.row: ShardRecord = found

    def document(self) -> dict[str, Any]:
        """The report's JSON form."""
        ref = self.row.outputs["report"]
        try:
            found = json.loads(self.job.backend.objects.get(ref.key))
        except ValueError as error:
            raise CorruptObjectError(f"object {ref.key!r} is no report; run the job's last stage again") from error
        if not isinstance(found, dict):
            raise CorruptObjectError(f"object {ref.key!r} is no report; run the job's last stage again")
        return found

    def questions(self) -> Iterator[bytes]:
        """The lines of its questions."""
        ref = self.row.outputs.get("questions")
        return read_lines(self.job.backend.objects, ref.key) if ref else iter(())

    def summary(self, document: dict[str, Any]) -> ReportSummary:
        """The report as lists show it."""
        record = self.job.record
        return ReportSummary(
            job_id=self.job.job_id,
            job_name=record.name,
            kind=record.kind,
            stage=self.row.stage,
            created_at=self.row.finished_at,
            questions=self.row.counts.get("questions", 0),
            findings=[str(one) for one in document.get("findings") or []][:FINDINGS],
            arms=arm_titles(document),
            sets=[str(one["name"]) for one in document.get("sets") or []],
        )


def find_row(job: JobReader) -> ShardRecord | None:
    """The first finished shard that wrote a report."""
    plan = job.plan()
    for stage in plan.stages if plan else []:
        if stage.task == REPORT_TASK:
            for row in walk_rows(job, stage.id):
                if row.state is ShardState.DONE and "report" in row.outputs:
                    return row
    return None


def arm_titles(document: dict[str, Any]) -> dict[str, str]:
    """Titles by arm id, of built-in sets and data sets alike."""
    arms = [one["arm"] for one in document.get("scores") or []]
    arms += [arm["arm"] for board in document.get("benchmarks") or [] for arm in board.get("arms") or []]
    return {str(arm["id"]): str(arm["title"]) for arm in arms}


def read_question(line: bytes) -> ReportQuestion:
    """A line of a report's questions."""
    try:
        found = json.loads(line)
        own = {name: found.get(name) for name in QUESTION_FIELDS}
        return ReportQuestion.model_validate({**own, "database_id": found["db_id"], "arms": found["arms"]})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObjectError("a line of a report's questions is none; run the job's last stage again") from error


def arm_mean(question: ReportQuestion, arm: str) -> float | None:
    """The share of an arm's answers that are right, 0 to 1; None where it has none."""
    answers = question.arms.get(arm)
    return sum(one.ex for one in answers) / len(answers) if answers else None
