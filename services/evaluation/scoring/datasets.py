"""Scores on stored datasets: every question counts, by the official policy, beside the strict one.

Officially two empty results are equal and a failed gold makes its question wrong, so nothing is left out. The ceiling
and the score without empty golds tell what that is worth.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.evaluation.metrics.aggregate import LEVELS, METRIC_VERSION
from services.evaluation.metrics.failures import DEPENDS, facts_of, failure_of
from services.evaluation.model import (
    ArmResults,
    ArmScore,
    BenchmarkArm,
    BenchmarkInput,
    BenchmarkScore,
    CorrectCount,
    SetFacts,
)
from services.evaluation.scoring.arms import QuestionSet, ScoredArm, check_rows, gold_is_empty, index_rows, score_arm
from shared.contracts.records import Example, JudgedCandidate, Outcome, Verdict

RIGHT = (Verdict.CORRECT, Verdict.BOTH_EMPTY)
RAN = (Outcome.OK, Outcome.EMPTY)
UNANSWERED = "unanswered"
NOT_STATED = "not stated"
Rows = dict[str, list[JudgedCandidate]]


def is_right(row: JudgedCandidate) -> bool:
    """An empty result against an empty gold counts as right."""
    return row.verdict in RIGHT


@dataclass(frozen=True)
class ScoredBenchmark:
    """A dataset's questions and arms under the official policy."""

    given: BenchmarkInput
    questions: QuestionSet
    arms: dict[str, ScoredArm]

    def facts(self) -> SetFacts:
        return self.questions.facts().model_copy(update={"policy": self.given.policy.value})

    def scores(self, resamples: int, seed: int) -> list[ArmScore]:
        found = []
        for results in self.given.arms:
            score = score_arm(self.arms[results.arm.id], self.questions, resamples, seed)
            verdicts = Counter(row.verdict.value for row in counted(index_rows(results.rows), results.arm.greedy))
            found.append(score.model_copy(update={"verdicts": dict(sorted(verdicts.items()))}))
        return found

    def score(self) -> BenchmarkScore:
        given, total = self.given, len(self.questions.questions)
        lost = sorted(self.questions.gold_failed, key=lambda name: given.examples[name].index or 0)
        return BenchmarkScore(
            set_name=self.questions.name,
            dataset=given.dataset,
            split=given.split,
            policy=given.policy.value,
            metric_version=METRIC_VERSION,
            prompt=given.prompt,
            licence=given.licence,
            release=given.release,
            skipped=given.skipped,
            questions=total,
            gold_failed=[gold_line(given.examples[name], self._gold_row(name)) for name in lost],
            gold_empty=len(self.questions.gold_empty),
            ceiling=round(1 - len(lost) / total, 6) if total else 0.0,
            depends=self._depends(),
            sqlite=given.sqlite,
            arms=[self._arm(results) for results in given.arms],
        )

    def _depends(self) -> dict[str, int]:
        found: dict[str, set[str]] = defaultdict(set)
        for row in (row for one in self.given.arms for row in one.rows):
            for name in row.depends_on:
                found[name.value].add(row.candidate.example_id)
        return {name: len(found[name]) for name in DEPENDS if name in found}

    def _gold_row(self, name: str) -> JudgedCandidate | None:
        return next((row for one in self.given.arms for row in one.rows if row.candidate.example_id == name), None)

    def _arm(self, results: ArmResults) -> BenchmarkArm:
        arm, rows = results.arm, index_rows(results.rows)
        every = self.questions.questions
        filled = [one for one in every if one.example_id not in self.questions.gold_empty]
        strict = self.given.strict.get(arm.id)
        return BenchmarkArm(
            arm=arm,
            official=tally(rows, every, arm.greedy),
            strict=tally(rows if strict is None else index_rows(strict), every, arm.greedy),
            gold_not_empty=tally(rows, filled, arm.greedy),
            majority=None if arm.greedy else majority(rows, every),
            hardness=by_hardness(rows, every, arm.greedy),
            failures=failures(rows, every, arm.greedy),
        )


def score_benchmark(given: BenchmarkInput) -> ScoredBenchmark:
    """Raises InvalidInputError where an arm answers a question of another set, or a slot twice."""
    rows = [row for results in given.arms for row in results.rows]
    questions = sorted(given.examples.values(), key=lambda one: (one.index or 0, one.example_id))
    failed = {row.candidate.example_id for row in rows if gold_lost(row)}
    empty = {row.candidate.example_id for row in rows if gold_is_empty(row)} - failed
    arms: dict[str, ScoredArm] = {}
    for results in given.arms:
        check_rows(results.arm.id, results.rows, given.examples)
        # The shared scoring counts CORRECT alone; officially two empty results are right, too.
        right = [row.model_copy(update={"verdict": Verdict.CORRECT}) if is_right(row) else row for row in results.rows]
        arms[results.arm.id] = ScoredArm(results.model_copy(update={"rows": right}), index_rows(right))
    return ScoredBenchmark(given, QuestionSet(given.name, questions, questions, failed, empty), arms)


def gold_lost(row: JudgedCandidate) -> bool:
    """Whether the gold did not run to its end, so that no answer can be right."""
    if row.gold_result is not None:
        return row.gold_result.outcome not in RAN
    return row.verdict in (Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT)


def gold_line(example: Example, row: JudgedCandidate | None) -> str:
    view = row.gold_result if row is not None else None
    reason = f"{view.outcome.value}: {view.message or 'no message'}" if view is not None else "it failed"
    return f"question {example.index} ({example.domain}): {reason}"


def counted(rows: Rows, greedy: bool) -> Iterable[JudgedCandidate]:
    """The rows that count: the first of a greedy arm, all of a sampled one."""
    return (row for found in rows.values() for row in found[: 1 if greedy else None])


def tally(rows: Rows, questions: Sequence[Example], greedy: bool) -> CorrectCount:
    """Right answers; a question without an answer counts as one wrong answer."""
    correct = total = 0
    for example in questions:
        found = rows.get(example.example_id, [])[: 1 if greedy else None]
        correct += sum(map(is_right, found))
        total += max(1, len(found))
    return CorrectCount(correct=correct, total=total)


def by_hardness(rows: Rows, questions: Sequence[Example], greedy: bool) -> dict[str, CorrectCount]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in questions:
        groups[example.hardness or NOT_STATED].append(example)
    names = [name for name in LEVELS if name in groups] + sorted(groups.keys() - set(LEVELS))
    return {name: tally(rows, groups[name], greedy) for name in names}


def majority(rows: Rows, questions: Sequence[Example]) -> CorrectCount:
    """Majority vote by execution result: the most frequent result answers; on a tie, the first.

    Answers that do not run have no vote; a question where none runs is wrong.
    """
    right = 0
    for example in questions:
        chosen = elected(rows.get(example.example_id, []))
        right += chosen is not None and is_right(chosen)
    return CorrectCount(correct=right, total=len(questions))


def elected(rows: Sequence[JudgedCandidate]) -> JudgedCandidate | None:
    groups: dict[str, list[JudgedCandidate]] = defaultdict(list)
    for row in rows:
        if row.result_hash is not None and row.outcome in RAN:
            groups[row.result_hash].append(row)
    # max keeps the first of equally large groups, so a tie goes to the earliest slot.
    return max(groups.values(), key=len)[0] if groups else None


def failures(rows: Rows, questions: Sequence[Example], greedy: bool) -> dict[str, int]:
    found: Counter[str] = Counter()
    for example in questions:
        answers = rows.get(example.example_id, [])[: 1 if greedy else None]
        found.update([UNANSWERED] if not answers else [])
        for row in answers:
            if not is_right(row):
                cause = failure_of(row.verdict, row.outcome, facts_of(row.gold_result), facts_of(row.result))
                found[cause.value] += 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
