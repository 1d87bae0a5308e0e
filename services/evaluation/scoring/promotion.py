"""Which model goes into service, and from which one the next round starts: the selection split alone decides."""

from collections.abc import Sequence
from fractions import Fraction

from services.evaluation.model import CandidateScore, Promotion, PromotionCandidate, ReportInput
from services.evaluation.reports.format import percent
from services.evaluation.scoring.arms import ScoredArm, check_rows, index_rows, question_scores, question_set
from shared.contracts.evaluation import ArmPlan, ChooseModel, ChosenCounts
from shared.contracts.records import Example, JudgedCandidate, RoundScore
from shared.tasks.task import Shard, TaskResult

REFERENCE = "sft"


def choose_promoted(scores: list[CandidateScore], reference: str) -> Promotion:
    """The eligible candidate with the best selection score; the reference keeps its place on a tie.

    Other ties go to the one named first. Without a score of the reference, the best eligible one wins.
    """
    able = [one for one in scores if one.eligible and one.questions]
    if not able:
        reason = "No candidate has a score on the selection split, so nothing is promoted."
        return Promotion(arm_id=None, model=None, reason=reason, scores=scores)
    # Fractions, so that rounding neither makes nor breaks a tie.
    best = max(able, key=lambda one: (Fraction(one.correct, one.questions), one.arm_id == reference))
    return Promotion(arm_id=best.arm_id, model=best.model, reason=reason_for(best, able, reference), scores=scores)


def reason_for(best: CandidateScore, able: list[CandidateScore], reference: str) -> str:
    others = [one for one in able if one is not best]
    if not others:
        return f"{best.arm_id} is promoted: the only eligible candidate with a selection score ({score_text(best)})."
    listed = ", ".join(f"{one.arm_id} {score_text(one)}" for one in others)
    if any(Fraction(one.correct, one.questions) == Fraction(best.correct, best.questions) for one in others):
        kept = "a tie keeps it" if best.arm_id == reference else "a tie goes to the one named first"
        return f"{best.arm_id} is promoted: {score_text(best)} on the selection split against {listed}; {kept}."
    return f"{best.arm_id} is promoted: the best score on the selection split, {score_text(best)} against {listed}."


def score_text(score: CandidateScore) -> str:
    return f"{percent(score.accuracy)} ({score.correct}/{score.questions})"


def selection_scores(given: ReportInput, arms: dict[str, ScoredArm]) -> list[CandidateScore]:
    """Each candidate on the selection questions that count for all."""
    candidates = [
        one.model_copy(update={"rows": selection_rows(given, arms, one.arm_id, one.rows)}) for one in given.candidates
    ]
    return selection_scores_of(candidates, given.examples)


def selection_scores_of(candidates: Sequence[PromotionCandidate], examples: dict[str, Example]) -> list[CandidateScore]:
    rows = {one.arm_id: one.rows for one in candidates}
    everything = [row for name in rows for row in rows[name]]
    questions = question_set("selection", examples.values(), everything)
    found: list[CandidateScore] = []
    for one in candidates:
        check_rows(one.arm_id, rows[one.arm_id], examples)
        results = question_scores(index_rows(rows[one.arm_id]), True, questions)
        correct = int(sum(results.values()))
        found.append(
            CandidateScore(
                arm_id=one.arm_id,
                model=one.model,
                eligible=one.eligible,
                correct=correct,
                questions=len(results),
                accuracy=round(correct / len(results), 6) if results else None,
            )
        )
    return found


def selection_rows(
    given: ReportInput, arms: dict[str, ScoredArm], arm_id: str, rows: list[JudgedCandidate]
) -> list[JudgedCandidate]:
    if rows or arm_id not in arms:
        return rows
    return [row for row in arms[arm_id].results.rows if given.examples[row.candidate.example_id].split == "selection"]


def promote(given: ReportInput, arms: dict[str, ScoredArm]) -> Promotion | None:
    """None for a job without candidates."""
    if not given.candidates:
        return None
    return choose_promoted(selection_scores(given, arms), given.reference_arm)


def candidate_of(arm: ArmPlan, shard: Shard) -> PromotionCandidate:
    """An arm with its verdicts on the selection split; it has no rows where its round was skipped."""
    rows = list(shard.stage_records(arm.judged, "judged", JudgedCandidate))
    name = arm.id.removesuffix(".selection")
    return PromotionCandidate(arm_id=name, model=arm.model, eligible=arm.promotable, rows=rows)


def score_rounds(scores: Sequence[CandidateScore]) -> list[RoundScore]:
    """Scores in order of rounds, the SFT model first; each kept or not, one of them the best.

    Each prefix is decided by the rule of promotion, so that a choice here is what the report promotes from the same
    scores. Without any score the first model is the best.
    """
    found: list[RoundScore] = []
    best = scores[0].arm_id
    for number, one in enumerate(scores):
        before, best = best, choose_promoted(list(scores[: number + 1]), REFERENCE).arm_id or best
        found.append(
            RoundScore(
                round=number,
                arm_id=one.arm_id,
                model=one.model,
                correct=one.correct,
                questions=one.questions,
                kept=bool(one.questions) and (number == 0 or best != before),
            )
        )
    return [line.model_copy(update={"best": line.arm_id == best}) for line in found]


def choose_model(command: ChooseModel, shard: Shard) -> TaskResult:
    """Writes one line for each model so far; stages of the next round read the best."""
    examples = {row.example_id: row for row in shard.stage_records(command.dataset, "selection", Example)}
    candidates = [candidate_of(arm, shard) for arm in command.arms]
    lines = score_rounds(selection_scores_of(candidates, examples))
    best = next(line for line in lines if line.best)
    counts = ChosenCounts(
        round=best.round,
        kept=int(lines[-1].kept),
        later=int(best.round > 1),
        correct=best.correct,
        questions=best.questions,
    )
    return TaskResult(counts, {"choice": shard.write_records("choice", lines)})
