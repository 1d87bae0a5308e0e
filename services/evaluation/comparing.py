"""Paired comparisons of arms: which pairs are made, and what each shows."""

from services.evaluation.model import ReportInput
from services.evaluation.report_data import Comparison
from services.evaluation.scoring import QuestionSet, ScoredArm, arm_scores, by_database, interval_of
from services.evaluation.stats import Estimate, clustered_mean, mcnemar_exact

NO_EFFECT = "no effect shown at this size"
ABOVE = "above, interval clear of zero"
BELOW = "below, interval clear of zero"
NOT_TESTABLE = "not testable: fewer than two databases"


def conclusion(estimate: Estimate) -> str:
    """What a difference shows: NO_EFFECT where the interval holds zero."""
    holds_zero = estimate.holds_zero()
    if holds_zero is None:
        return NOT_TESTABLE
    if holds_zero:
        return NO_EFFECT
    return ABOVE if estimate.mean > 0 else BELOW


def compare(arm: ScoredArm, other: ScoredArm, questions: QuestionSet, resamples: int, seed: int) -> Comparison | None:
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
    return Comparison(
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
        p_value=None if sampled else round(mcnemar_exact(wins, losses), 9),
        conclusion=conclusion(estimate),
    )


def compared_pairs(given: ReportInput, arms: dict[str, ScoredArm]) -> list[tuple[str, str]]:
    """(arm, other) ids: trained arms minus the reference, the reference minus untrained ones, DPO minus the control.

    Sampled arms are compared only among themselves: DPO minus the reference, matched by model.
    """
    reference = given.reference_arm
    pairs: list[tuple[str, str]] = []
    for name, arm in arms.items():
        if reference in arms and name != reference and arm.results.arm.greedy:
            pairs.append((name, reference) if arm.results.arm.train_steps else (reference, name))
    if given.treatment_arm in arms and given.control_arm in arms:
        pairs.append((given.treatment_arm, given.control_arm))
    sampled = [sampled_twin(arms, name) for name in (given.treatment_arm, reference)]
    if sampled[0] and sampled[1]:
        pairs.append((sampled[0], sampled[1]))
    return pairs


def sampled_twin(arms: dict[str, ScoredArm], name: str) -> str | None:
    """The first sampled arm with the same model as the greedy arm `name`."""
    if name not in arms:
        return None
    model = arms[name].results.arm.model
    twins = [key for key, arm in arms.items() if not arm.results.arm.greedy and arm.results.arm.model == model]
    return twins[0] if twins else None


def compare_all(given: ReportInput, arms: dict[str, ScoredArm], questions: QuestionSet) -> list[Comparison]:
    """Every pair on one set, in the order of `compared_pairs`."""
    pairs = compared_pairs(given, arms)
    found = [compare(arms[a], arms[b], questions, given.resamples, given.bootstrap_seed) for a, b in pairs]
    return [comparison for comparison in found if comparison is not None]


def find(comparisons: list[Comparison], set_name: str, arm_id: str, other_id: str) -> Comparison | None:
    """The comparison of two arms on a set."""
    wanted = (set_name, arm_id, other_id)
    return next((one for one in comparisons if (one.set_name, one.arm_id, one.other_id) == wanted), None)
