"""Two arms of two reports, paired by question: pure arithmetic over lines that are read twice, never held whole."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import comb, sqrt
from typing import Literal

from services.gateway.paging import Place, Source, find_page
from services.gateway.reports_reader import ReportReader, arm_mean, arm_titles, read_question
from shared.client.browse import ArmAnswer, ComparedQuestion, ComparedSide, ReportComparison, ReportQuestion
from shared.errors import NotFoundError

TWO_SIDED = 1.96  # standard errors on each side of a normal 95 % interval
Shown = Literal["all", "won", "lost", "differ"]


@dataclass(frozen=True)
class Side:
    """An arm of a report."""

    report: ReportReader
    arm: str

    def scores(self, name: str | None) -> Iterator[tuple[ReportQuestion, float]]:
        """Scored questions of a set that the arm answered, with the share of right answers."""
        for line in self.report.questions():
            question = read_question(line)
            if question.scored and name in (None, question.set):
                mean = arm_mean(question, self.arm)
                if mean is not None:
                    yield question, mean

    def title(self) -> str:
        """Raises `NotFoundError` (code arm_not_found) with the arms that there are."""
        titles = arm_titles(self.report.document())
        if self.arm not in titles:
            message = f"the report of job {self.report.job.job_id} has no arm {self.arm!r}; it has: {', '.join(titles)}"
            raise NotFoundError(message, code="arm_not_found")
        return titles[self.arm]


@dataclass
class Paired:
    """The scores of both sides on the questions they share: two numbers a question."""

    left: dict[str, float] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    sampled: bool = False

    @property
    def shared(self) -> list[str]:
        """Ids that both have, in the right side's order."""
        return [name for name in self.right if name in self.left]

    def differences(self) -> dict[str, float]:
        """Right minus left, by question."""
        return {name: self.right[name] - self.left[name] for name in self.shared}


def pair_scores(left: Side, right: Side, name: str | None) -> Paired:
    """Reads both sides once."""
    paired = Paired()
    for side, scores in ((left, paired.left), (right, paired.right)):
        for question, mean in side.scores(name):
            scores[question.example_id] = mean
            paired.databases[question.example_id] = question.database_id
            paired.sampled |= len(question.arms[side.arm]) > 1
    return paired


def compare_sides(
    left: Side, right: Side, name: str | None, shown: Shown, after: Place, limit: int
) -> ReportComparison:
    """Numbers over all shared questions, and a page of those that are to be shown."""
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

    rows = Source(0, 0, partial(map, lambda scored: scored[0], right.scores(name)))
    page = find_page([rows], after, limit, make)
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
        p_value=None if paired.sampled or not differences else mcnemar(won, lost),
        data=[view_question(one, answers[one.example_id], right.arm) for one in page.data],
        has_more=page.has_more,
        last_id=page.last_id,
    )


def answers_of(side: Side, wanted: set[str], name: str | None) -> dict[str, list[ArmAnswer]]:
    """What a side answered to these questions."""
    return {
        question.example_id: question.arms[side.arm]
        for question, _ in side.scores(name)
        if question.example_id in wanted
    }


def view_question(question: ReportQuestion, left: list[ArmAnswer], arm: str) -> ComparedQuestion:
    """A question with both sides' answers and no others."""
    return ComparedQuestion(
        question=question.model_copy(update={"arms": {}}), left=left, right=question.arms.get(arm, [])
    )


def view_side(side: Side, title: str, scores: Mapping[str, float], paired: Paired) -> ComparedSide:
    """A side with its accuracy over the shared questions."""
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
    """Ends of a 95 % interval of the mean difference in points; None with fewer than two databases.

    The sandwich estimate: squared sums of residuals by cluster, times G/(G-1) for G clusters.
    """
    if not differences:
        return None
    mean = sum(differences.values()) / len(differences)
    sums: dict[str, float] = defaultdict(float)
    for name, value in differences.items():
        sums[databases[name]] += value - mean
    clusters = len(sums)
    if clusters < 2:
        return None
    error = sqrt(clusters / (clusters - 1) * sum(value**2 for value in sums.values())) / len(differences)
    return 100 * (mean - TWO_SIDED * error), 100 * (mean + TWO_SIDED * error)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact binomial p of `won` against `lost` at one half."""
    discordant = won + lost
    if not discordant:
        return 1.0
    tail = sum(comb(discordant, k) for k in range(min(won, lost) + 1))
    return float(min(1.0, 2 * tail / 2**discordant))
