"""Reads the reports of jobs and their questions, and compares two arms question by question."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import comb, sqrt
from typing import Any, Literal

from services.gateway.http.paging import Cursor, RecordSource, read_page
from services.gateway.jobs.service import REPORT_TASK
from shared.api.browsing import (
    ArmAnswer,
    ComparedQuestion,
    ComparedSide,
    ReportComparison,
    ReportQuestion,
    ReportSummary,
)
from shared.errors import NotFoundError
from shared.jobs.reading import JobReader
from shared.jobs.state import ShardRecord, ShardState
from shared.storage.records import CorruptObjectError, read_lines

FINDINGS = 4
QUESTION_FIELDS = set(ReportQuestion.model_fields) - {"object", "database_id", "arms"}


class ReportReader:
    """The report of a job. Raises `NotFoundError` (code report_not_found) where there is none."""

    def __init__(self, job: JobReader) -> None:
        self.job = job
        found = find_report_shard(job)
        if found is None:
            raise NotFoundError(f"job {job.job_id} has no report; list them at /v1/reports", code="report_not_found")
        self.row: ShardRecord = found

    def document(self) -> dict[str, Any]:
        ref = self.row.outputs["report"]
        try:
            found = json.loads(self.job.objects.get(ref.key))
        except ValueError as error:
            raise CorruptObjectError(f"object {ref.key!r} is no report; run the job's last stage again") from error
        if not isinstance(found, dict):
            raise CorruptObjectError(f"object {ref.key!r} is no report; run the job's last stage again")
        return found

    def questions(self) -> Iterator[bytes]:
        ref = self.row.outputs.get("questions")
        return read_lines(self.job.objects, ref.key) if ref else iter(())

    def summary(self, document: dict[str, Any]) -> ReportSummary:
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


def find_report_shard(job: JobReader) -> ShardRecord | None:
    plan = job.plan()
    for stage in plan.stages if plan else []:
        if stage.task == REPORT_TASK:
            for row in job.walk_shards(stage.id):
                if row.state is ShardState.DONE and "report" in row.outputs:
                    return row
    return None


def arm_titles(document: dict[str, Any]) -> dict[str, str]:
    arms = [one["arm"] for one in document.get("scores") or []]
    arms += [arm["arm"] for board in document.get("benchmarks") or [] for arm in board.get("arms") or []]
    return {str(arm["id"]): str(arm["title"]) for arm in arms}


def read_question(line: bytes) -> ReportQuestion:
    try:
        found = json.loads(line)
        own = {name: found.get(name) for name in QUESTION_FIELDS}
        return ReportQuestion.model_validate({**own, "database_id": found["db_id"], "arms": found["arms"]})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObjectError("a line of a report's questions is none; run the job's last stage again") from error


def arm_accuracy(question: ReportQuestion, arm: str) -> float | None:
    """The share of an arm's correct answers, 0 to 1; None where it has none."""
    answers = question.arms.get(arm)
    return sum(one.ex for one in answers) / len(answers) if answers else None


TWO_SIDED = 1.96  # standard errors on each side of a normal 95 % interval
ShownQuestions = Literal["all", "won", "lost", "differ"]


@dataclass(frozen=True)
class ComparedArm:
    """An arm of a report."""

    report: ReportReader
    arm: str

    def scores(self, name: str | None) -> Iterator[tuple[ReportQuestion, float]]:
        for line in self.report.questions():
            question = read_question(line)
            if question.scored and name in (None, question.set):
                mean = arm_accuracy(question, self.arm)
                if mean is not None:
                    yield question, mean

    def title(self) -> str:
        titles = arm_titles(self.report.document())
        if self.arm not in titles:
            message = f"the report of job {self.report.job.job_id} has no arm {self.arm!r}; it has: {', '.join(titles)}"
            raise NotFoundError(message, code="arm_not_found")
        return titles[self.arm]


@dataclass
class PairedScores:
    """Scores of both arms on the questions that both answered."""

    left: dict[str, float] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    sampled: bool = False

    @property
    def shared(self) -> list[str]:
        """Ids that both arms have, in the right arm's order."""
        return [name for name in self.right if name in self.left]

    def differences(self) -> dict[str, float]:
        """Right minus left, by question."""
        return {name: self.right[name] - self.left[name] for name in self.shared}


def pair_scores(left: ComparedArm, right: ComparedArm, name: str | None) -> PairedScores:
    paired = PairedScores()
    for side, scores in ((left, paired.left), (right, paired.right)):
        for question, mean in side.scores(name):
            scores[question.example_id] = mean
            paired.databases[question.example_id] = question.database_id
            paired.sampled |= len(question.arms[side.arm]) > 1
    return paired


def compare_arms(
    left: ComparedArm, right: ComparedArm, name: str | None, shown: ShownQuestions, after: Cursor, limit: int
) -> ReportComparison:
    # Read first, so that an unknown arm is an error before any question is read.
    titles = (left.title(), right.title())
    paired = pair_scores(left, right, name)
    differences = paired.differences()
    won, lost = (sum(value * sign > 0 for value in differences.values()) for sign in (1, -1))
    interval = clustered_interval(differences, paired.databases)

    def make(question: ReportQuestion) -> ReportQuestion | None:
        value = differences.get(question.example_id)
        if value is None:
            return None
        fits = {"all": True, "won": value > 0, "lost": value < 0, "differ": value != 0}[shown]
        return question if fits else None

    rows = RecordSource(0, 0, partial(map, lambda scored: scored[0], right.scores(name)))
    page = read_page([rows], after, limit, make)
    # The page walks through the right arm's report; a second pass fetches the left arm's answers for it alone.
    answers = answers_of(left, {question.example_id for question in page.data}, name)
    return ReportComparison(
        left=view_side(left, titles[0], paired.left, paired),
        right=view_side(right, titles[1], paired.right, paired),
        set=name,
        questions=len(differences),
        databases=len({paired.databases[one] for one in differences}),
        points=100 * sum(differences.values()) / len(differences) if differences else None,
        low=interval and interval[0],
        high=interval and interval[1],
        won=won,
        lost=lost,
        # McNemar's test compares single answers, right or wrong; sampled ones have shares.
        p_value=None if paired.sampled or not differences else mcnemar(won, lost),
        data=[view_question(one, answers[one.example_id], right.arm) for one in page.data],
        has_more=page.has_more,
        last_id=page.last_id,
    )


def answers_of(side: ComparedArm, wanted: set[str], name: str | None) -> dict[str, list[ArmAnswer]]:
    return {
        question.example_id: question.arms[side.arm]
        for question, _ in side.scores(name)
        if question.example_id in wanted
    }


def view_question(question: ReportQuestion, left: list[ArmAnswer], arm: str) -> ComparedQuestion:
    return ComparedQuestion(
        question=question.model_copy(update={"arms": {}}), left=left, right=question.arms.get(arm, [])
    )


def view_side(side: ComparedArm, title: str, scores: Mapping[str, float], paired: PairedScores) -> ComparedSide:
    shared = paired.shared
    return ComparedSide(
        job_id=side.report.job.job_id,
        job_name=side.report.job.record.name,
        arm=side.arm,
        title=title,
        accuracy=sum(scores[one] for one in shared) / len(shared) if shared else None,
        alone=len(scores) - len(shared),
    )


def clustered_interval(differences: Mapping[str, float], databases: Mapping[str, str]) -> tuple[float, float] | None:
    """Ends of a 95 % interval of the mean difference, in percentage points; None with fewer than two databases.

    The sandwich estimate: squared sums of residuals by cluster, times G/(G-1) for G clusters.
    """
    if not differences:
        return None
    mean = sum(differences.values()) / len(differences)
    sums: dict[str, float] = defaultdict(float)
    for name, value in differences.items():
        sums[databases[name]] += value - mean
    clusters = len(sums)
    # The spread between databases cannot be estimated from one.
    if clusters < 2:
        return None
    error = sqrt(clusters / (clusters - 1) * sum(value**2 for value in sums.values())) / len(differences)
    return 100 * (mean - TWO_SIDED * error), 100 * (mean + TWO_SIDED * error)


def mcnemar(won: int, lost: int) -> float:
    """McNemar's exact test: the two-sided binomial p-value of `won` against `lost` at one half."""
    discordant = won + lost
    if not discordant:
        return 1.0
    tail = sum(comb(discordant, k) for k in range(min(won, lost) + 1))
    return float(min(1.0, 2 * tail / 2**discordant))
