"""From judged answers to scores: which questions count, and how each arm does on them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from services.evaluation.model import ArmResults, ArmScore, CorrectCount, Interval, ReportInput, SetFacts, SetName
from services.evaluation.scoring.statistics import Estimate, clustered_mean, pass_at_k
from shared.contracts.records import Example, JudgedCandidate, Level, Outcome, Verdict
from shared.errors import InvalidInputError

SET_NAMES: dict[str, SetName] = {"test": "held-out", "handwritten": "handwritten", "selection": "selection"}
TEST_SETS: tuple[SetName, ...] = ("held-out", "handwritten")
LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")
GOLD_FAILED = {Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT}
INVALID = {Verdict.ERROR, Verdict.UNEXTRACTABLE}
MOST_K = 8


@dataclass(frozen=True)
class ScoredArm:
    """An arm's rows by example id, in slot order."""

    results: ArmResults
    by_example: dict[str, list[JudgedCandidate]]


@dataclass(frozen=True)
class QuestionSet:
    """A test set in report order: the questions that count, and why the others do not."""

    name: SetName
    questions: list[Example]
    scored: list[Example]
    gold_failed: set[str]
    gold_empty: set[str]

    def facts(self) -> SetFacts:
        return SetFacts(
            name=self.name,
            questions=len(self.questions),
            scored=len(self.scored),
            gold_failed=len(self.gold_failed),
            gold_empty=len(self.gold_empty),
            databases=len({example.database_id for example in self.scored}),
            domains=len({example.domain for example in self.scored}),
        )


def index_rows(rows: Iterable[JudgedCandidate]) -> dict[str, list[JudgedCandidate]]:
    """Rows by example id, in slot order."""
    found: dict[str, list[JudgedCandidate]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.candidate.example_id, row.candidate.slot)):
        found[row.candidate.example_id].append(row)
    return dict(found)


def index_arms(given: ReportInput) -> dict[str, ScoredArm]:
    """Arms by id, in the given order.

    Raises InvalidInputError for an arm or slot that comes twice, and for answers to unknown or training examples.
    """
    arms: dict[str, ScoredArm] = {}
    for results in given.arms:
        if results.arm.id in arms:
            raise InvalidInputError(f"arm {results.arm.id} stands twice in the report; give each arm its own id")
        check_rows(results.arm.id, results.rows, given.examples)
        arms[results.arm.id] = ScoredArm(results, index_rows(results.rows))
    return arms


def check_rows(arm_id: str, rows: Iterable[JudgedCandidate], examples: dict[str, Example]) -> None:
    """Raises InvalidInputError for unknown or training examples, and for a slot that is answered twice."""
    seen: set[tuple[str, int]] = set()
    for row in rows:
        name, slot = place = (row.candidate.example_id, row.candidate.slot)
        example = examples.get(name)
        if example is None or example.split not in SET_NAMES:
            kind = "unknown" if example is None else "training"
            raise InvalidInputError(f"arm {arm_id} answered the {kind} example {name}; give rows of test sets only")
        if place in seen:
            raise InvalidInputError(f"arm {arm_id} answered example {name} slot {slot} twice; read each shard once")
        seen.add(place)


def question_set(name: SetName, examples: Iterable[Example], rows: Iterable[JudgedCandidate]) -> QuestionSet:
    """A gold that fails or gives no row in any answer takes its question out for every arm."""
    ordered = sorted(examples, key=lambda one: (one.domain, one.database_id, one.example_id))
    questions = [one for one in ordered if SET_NAMES.get(one.split) == name]
    ids = {one.example_id for one in questions}
    failed: set[str] = set()
    empty: set[str] = set()
    for row in rows:
        if row.candidate.example_id in ids and row.verdict in GOLD_FAILED:
            failed.add(row.candidate.example_id)
        elif row.candidate.example_id in ids and gold_is_empty(row):
            empty.add(row.candidate.example_id)
    # A gold that failed in any answer counts as failed only.
    empty -= failed
    scored = [one for one in questions if one.example_id not in failed | empty]
    return QuestionSet(name, questions, scored, failed, empty)


def gold_is_empty(row: JudgedCandidate) -> bool:
    if row.verdict is Verdict.BOTH_EMPTY:
        return True
    return row.gold_result is not None and row.gold_result.outcome is Outcome.EMPTY


def question_scores(
    by_example: dict[str, list[JudgedCandidate]], greedy: bool, questions: QuestionSet
) -> dict[str, float]:
    """Example id -> share of right answers. A greedy arm gets 0 where it did not answer, unless it answered nothing."""
    ids = [one.example_id for one in questions.scored]
    answered = {name: by_example[name] for name in ids if name in by_example}
    if not answered:
        return {}
    if not greedy:
        return {name: right(rows) / len(rows) for name, rows in answered.items()}
    return {name: float(right(answered.get(name, [])[:1])) for name in ids}


def arm_scores(arm: ScoredArm, questions: QuestionSet) -> dict[str, float]:
    return question_scores(arm.by_example, arm.results.arm.greedy, questions)


def right(rows: Iterable[JudgedCandidate]) -> int:
    return sum(row.verdict is Verdict.CORRECT for row in rows)


def by_database(scores: dict[str, float], questions: QuestionSet) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for example in questions.scored:
        if example.example_id in scores:
            groups[example.database_id].append(scores[example.example_id])
    return dict(groups)


def interval_of(estimate: Estimate | None, scale: float = 1.0) -> Interval | None:
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return Interval(low=round(estimate.low * scale, 6), high=round(estimate.high * scale, 6))


def score_arm(arm: ScoredArm, questions: QuestionSet, resamples: int, seed: int) -> ArmScore:
    spec = arm.results.arm
    scores = arm_scores(arm, questions)
    rows = answer_rows(arm, scores)
    estimate = clustered_mean(by_database(scores, questions), resamples, seed)
    counted = [one for one in questions.scored if one.example_id in scores]
    k = None if spec.greedy else min(MOST_K, spec.samples)
    return ArmScore(
        arm=spec,
        set_name=questions.name,
        questions=len(scores),
        unanswered=sum(name not in arm.by_example for name in scores),
        rows=len(rows),
        correct=right(rows),
        accuracy=None if estimate is None else round(estimate.mean, 6),
        interval=interval_of(estimate),
        invalid_sql=round(sum(row.verdict in INVALID for row in rows) / len(rows), 6) if rows else None,
        k=k,
        pass_at_k=None if k is None else mean_pass(arm, scores, k),
        verdicts=dict(sorted(Counter(row.verdict.value for row in rows).items())),
        levels=tallies(arm, counted, "level"),
        domains=tallies(arm, counted, "domain"),
    )


def answer_rows(arm: ScoredArm, scores: dict[str, float]) -> list[JudgedCandidate]:
    """The rows that count: every slot of a sampled arm, the first of a greedy one."""
    last = 1 if arm.results.arm.greedy else None
    return [row for name in scores for row in arm.by_example.get(name, [])[:last]]


def mean_pass(arm: ScoredArm, scores: dict[str, float], k: int) -> float | None:
    """Mean pass@k over questions with at least k samples; None without any."""
    values = [pass_at_k(len(arm.by_example[name]), right(arm.by_example[name]), k) for name in scores]
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 6) if known else None


def tallies(arm: ScoredArm, questions: list[Example], group: Literal["level", "domain"]) -> dict[str, CorrectCount]:
    """Right answers by level or domain; a question that a greedy arm left out counts as one answer."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for example in questions:
        rows = answer_rows(arm, {example.example_id: 0.0})
        counted = counts[getattr(example, group)]
        counted[0] += right(rows)
        counted[1] += max(1, len(rows))
    return {name: CorrectCount(correct=correct, total=total) for name, (correct, total) in sorted(counts.items())}
