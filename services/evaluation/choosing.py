"""The best model of a job's rounds so far, by the selection split alone: what the next round starts from."""

from collections.abc import Sequence

from services.evaluation.model import PromotionCandidate
from services.evaluation.promotion import choose_promoted, selection_scores_of
from services.evaluation.report_data import SelectionScore
from shared.contracts.evaluation import ArmPlan, ChooseModel, ChosenCounts
from shared.contracts.records import Example, Judged, RoundScore
from shared.tasks.run import Done
from shared.tasks.shard import Shard

REFERENCE = "sft"


def candidate_of(arm: ArmPlan, shard: Shard) -> PromotionCandidate:
    """An arm with its verdicts on the selection split; none where its round was skipped."""
    rows = list(shard.stage_rows(arm.judged, "judged", Judged))
    name = arm.id.removesuffix(".selection")
    return PromotionCandidate(arm_id=name, model=arm.model, eligible=arm.promotable, rows=rows)


def score_rounds(scores: Sequence[SelectionScore]) -> list[RoundScore]:
    """Scores in order of their rounds, the first being the SFT model's, each kept or not, one the best.

    Every prefix is decided by the rule of promotion, so that a choice is what the report promotes from the same scores.
    Without any score the first model is the best: nothing speaks for another.
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


def choose_model(command: ChooseModel, shard: Shard) -> Done:
    """One line a model so far; the best is read by the stages of the next round."""
    examples = {row.example_id: row for row in shard.stage_rows(command.dataset, "selection", Example)}
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
    return Done(counts, {"choice": shard.write_rows("choice", lines)})
