"""Two arms compared on the same questions: which pairs, what each shows, and example questions."""

from collections import defaultdict
from itertools import zip_longest
from typing import Literal

from services.evaluation.model import ArmComparison, CaseAnswer, CaseStudy, ReportInput
from services.evaluation.scoring.arms import QuestionSet, ScoredArm, arm_scores, by_database, interval_of
from services.evaluation.scoring.statistics import Estimate, clustered_mean, mcnemar_exact
from shared.contracts.records import Example, JudgedCandidate

NO_EFFECT = "no effect shown at this size"
ABOVE = "above, interval clear of zero"
BELOW = "below, interval clear of zero"
NOT_TESTABLE = "not testable: fewer than two databases"


def conclusion(estimate: Estimate) -> str:
    holds_zero = estimate.holds_zero()
    if holds_zero is None:
        return NOT_TESTABLE
    if holds_zero:
        return NO_EFFECT
    return ABOVE if estimate.mean > 0 else BELOW


def compare(
    arm: ScoredArm, other: ScoredArm, questions: QuestionSet, resamples: int, seed: int
) -> ArmComparison | None:
    """`arm` minus `other` over the questions that both have a score for; None where there is none."""
    left, right = arm_scores(arm, questions), arm_scores(other, questions)
    differences = {name: left[name] - right[name] for name in left if name in right}
    estimate = clustered_mean(by_database(differences, questions), resamples, seed)
    if estimate is None:
        return None
    sampled = not (arm.results.arm.greedy and other.results.arm.greedy)
    wins = sum(value > 0 for value in differences.values())
    losses = sum(value < 0 for value in differences.values())
    smallest = estimate.smallest_effect()
    return ArmComparison(
        set_name=questions.name,
        arm_id=arm.results.arm.id,
        arm_title=arm.results.arm.title,
        other_id=other.results.arm.id,
        other_title=other.results.arm.title,
        sampled=sampled,
        questions=len(differences),
        databases=estimate.clusters,
        points=round(estimate.mean * 100, 6),
        interval=interval_of(estimate, 100.0),
        standard_error=None if estimate.error is None else round(estimate.error * 100, 6),
        smallest_effect=None if smallest is None else round(smallest * 100, 6),
        wins=wins,
        losses=losses,
        # McNemar's test needs one answer for each question.
        p_value=None if sampled else round(mcnemar_exact(wins, losses), 9),
        conclusion=conclusion(estimate),
    )


def compared_pairs(given: ReportInput, arms: dict[str, ScoredArm]) -> list[tuple[str, str]]:
    """(arm, other) ids: trained arms minus the reference, the reference minus untrained ones, DPO minus the control.

    Of sampled arms only DPO minus the reference, matched by model.
    """
    reference = given.reference_arm
    pairs: list[tuple[str, str]] = []
    for name, arm in arms.items():
        if reference in arms and name != reference and arm.results.arm.greedy:
            # The arm with more training comes first, so a gain is positive.
            pairs.append((name, reference) if arm.results.arm.train_steps else (reference, name))
    if given.treatment_arm in arms and given.control_arm in arms:
        pairs.append((given.treatment_arm, given.control_arm))
    sampled = [sampled_twin(arms, name) for name in (given.treatment_arm, reference)]
    if sampled[0] and sampled[1]:
        pairs.append((sampled[0], sampled[1]))
    return pairs


def sampled_twin(arms: dict[str, ScoredArm], name: str) -> str | None:
    if name not in arms:
        return None
    model = arms[name].results.arm.model
    twins = [key for key, arm in arms.items() if not arm.results.arm.greedy and arm.results.arm.model == model]
    return twins[0] if twins else None


def compare_all(given: ReportInput, arms: dict[str, ScoredArm], questions: QuestionSet) -> list[ArmComparison]:
    pairs = compared_pairs(given, arms)
    found = [compare(arms[a], arms[b], questions, given.resamples, given.bootstrap_seed) for a, b in pairs]
    return [comparison for comparison in found if comparison is not None]


def find(comparisons: list[ArmComparison], set_name: str, arm_id: str, other_id: str) -> ArmComparison | None:
    wanted = (set_name, arm_id, other_id)
    return next((one for one in comparisons if (one.set_name, one.arm_id, one.other_id) == wanted), None)


MOST_CASES = 5


def pick_cases(arm: ScoredArm, other: ScoredArm, sets: list[QuestionSet]) -> list[CaseStudy]:
    """Up to five wins of `arm`, then up to five losses; both arms are greedy."""
    return [*pick(arm, other, sets, "win"), *pick(arm, other, sets, "loss")]


def pick(arm: ScoredArm, other: ScoredArm, sets: list[QuestionSet], kind: Literal["win", "loss"]) -> list[CaseStudy]:
    """Cases of one kind, set by set; within a set, one from each domain before a second from any."""
    wanted = 1.0 if kind == "win" else -1.0
    found: list[CaseStudy] = []
    for questions in sets:
        left, right = arm_scores(arm, questions), arm_scores(other, questions)
        parted = [
            one
            for one in questions.scored
            if one.example_id in arm.by_example
            and one.example_id in other.by_example
            and left[one.example_id] - right[one.example_id] == wanted
        ]
        found += [case_of(kind, questions, one, arm, other) for one in round_robin_by_domain(parted)]
    return found[:MOST_CASES]


def round_robin_by_domain(examples: list[Example]) -> list[Example]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for one in examples:
        groups[one.domain].append(one)
    rounds = zip_longest(*(groups[name] for name in sorted(groups)))
    return [one for turn in rounds for one in turn if one is not None]


def case_of(
    kind: Literal["win", "loss"], questions: QuestionSet, example: Example, arm: ScoredArm, other: ScoredArm
) -> CaseStudy:
    row, other_row = arm.by_example[example.example_id][0], other.by_example[example.example_id][0]
    return CaseStudy(
        kind=kind,
        set_name=questions.name,
        example=example,
        gold_result=row.gold_result or other_row.gold_result,
        arm=answer_of(arm.results.arm.title, row),
        other=answer_of(other.results.arm.title, other_row),
    )


def answer_of(title: str, row: JudgedCandidate) -> CaseAnswer:
    return CaseAnswer(
        arm_title=title,
        sql=row.candidate.sql,
        verdict=row.verdict,
        outcome=row.outcome,
        message=row.message,
        result=row.result,
    )
