"""Rounds of preference training: their facts, their table, and what must be said of them."""

from collections.abc import Mapping, Sequence

from services.evaluation.model import RoundFacts
from services.evaluation.reports.format import NONE, Table, percent
from shared.contracts.base import StageRef
from shared.contracts.evaluation import RoundPlan, Score
from shared.contracts.records import RoundScore
from shared.jobs.state import StageState
from shared.tasks.task import Shard

BEFORE = "sft"


def gather_rounds(command: Score, shard: Shard, states: Mapping[str, StageState]) -> list[RoundFacts]:
    """Every round by the counts of its stages and the choice after it; empty for a job of one round."""
    if not command.rounds:
        return []
    last = StageRef(stage=command.rounds[-1].choose)
    lines = {line.round: line for line in shard.stage_records(last, "choice", RoundScore)}
    found: list[RoundFacts] = []
    began_from = command.weak_model or BEFORE
    for plan in command.rounds:
        found.append(round_facts(plan, began_from, lines[plan.number], states, command.minimum_pairs))
        began_from = next(lines[n].arm_id for n in range(plan.number, -1, -1) if lines[n].kept or n == 0)
    return found


def round_facts(
    plan: RoundPlan, began_from: str, line: RoundScore, states: Mapping[str, StageState], minimum: int
) -> RoundFacts:
    """One round."""
    sampled, judged, collected = (states[stage].counts for stage in (plan.sample, plan.judge, plan.collect))
    return RoundFacts(
        number=plan.number,
        arm_id=plan.train,
        began_from=began_from,
        questions=sampled.get("questions", 0),
        samples=sampled.get("candidates", 0),
        right_samples=judged.get("correct", 0),
        pairs=collected.get("pairs", 0),
        minimum=minimum,
        steps=states[plan.train].counts.get("steps", 0),
        selection_correct=line.correct,
        selection_questions=line.questions,
        kept=line.kept,
        best=line.best,
    )


def round_table(rounds: Sequence[RoundFacts]) -> Table:
    """One row a round."""
    header = ["Round", "Sampled model", "Questions", "Right samples", "Pairs", "Steps", "Selection score", "Result"]
    rows = [
        [
            str(one.number),
            one.began_from,
            str(one.questions),
            share_text(one.right_samples, one.samples),
            str(one.pairs),
            str(one.steps or NONE),
            share_text(one.selection_correct, one.selection_questions),
            result_of(one),
        ]
        for one in rounds
    ]
    return Table(header, rows, 2, last_is_text=True)


def share_text(part: int, whole: int) -> str:
    """Percent and counts."""
    return f"{percent(part / whole)} ({part}/{whole})" if whole else NONE


def result_of(one: RoundFacts) -> str:
    """What the selection split decided."""
    if not one.selection_questions:
        return f"skipped: {one.pairs} pairs, {one.minimum} are needed" if not one.steps else "not scored"
    if one.best:
        return "kept, the best"
    return "kept" if one.kept else "not kept: no better than the best before"


def round_sentence(rounds: Sequence[RoundFacts]) -> str:
    """The rounds in a line, for the findings."""
    parts = [
        f"round {one.number} {share_text(one.selection_correct, one.selection_questions)}, {result_of(one)}"
        if one.selection_questions
        else f"round {one.number} {result_of(one)}"
        for one in rounds
    ]
    return f"Rounds of preference training, on the selection split: {'; '.join(parts)}."


def round_caveats(rounds: Sequence[RoundFacts]) -> list[str]:
    """What choosing among rounds does to their scores."""
    tried = sum(one.selection_questions > 0 for one in rounds)
    asked = max((one.selection_questions for one in rounds), default=0)
    lines = []
    if tried > 1:
        lines.append(
            f"{tried} rounds were held against the SFT model on {asked} selection questions; where the best of several "
            "is taken, its score there is somewhat too high. Test sets take no part in this, and of the later rounds "
            "only the best one is tested."
        )
    if any(one.number > 1 and one.best for one in rounds):
        lines.append("The control has the steps of the first round, not those of all rounds.")
    return lines
