"""A few questions on which two arms part, spread over domains."""

from collections import defaultdict
from itertools import zip_longest
from typing import Literal

from services.evaluation.report_data import Case, CaseAnswer
from services.evaluation.scoring import QuestionSet, ScoredArm, arm_scores
from shared.contracts.records import Example, Judged

MOST_CASES = 5


def pick_cases(arm: ScoredArm, other: ScoredArm, sets: list[QuestionSet]) -> list[Case]:
    """Up to five wins, then up to five losses, of `arm` against `other`; both greedy."""
    return [*pick(arm, other, sets, "win"), *pick(arm, other, sets, "loss")]


def pick(arm: ScoredArm, other: ScoredArm, sets: list[QuestionSet], kind: Literal["win", "loss"]) -> list[Case]:
    """Cases of one kind: sets in order, inside a set one from each domain before a second from any."""
    wanted = 1.0 if kind == "win" else -1.0
    found: list[Case] = []
    for questions in sets:
        left, right = arm_scores(arm, questions), arm_scores(other, questions)
        parted = [
            one
            for one in questions.scored
            if one.example_id in arm.by_example
            and one.example_id in other.by_example
            and left[one.example_id] - right[one.example_id] == wanted
        ]
        found += [case_of(kind, questions, one, arm, other) for one in spread(parted)]
    return found[:MOST_CASES]


def spread(examples: list[Example]) -> list[Example]:
    """Round robin over domains, in the order given inside each."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for one in examples:
        groups[one.domain].append(one)
    rounds = zip_longest(*(groups[name] for name in sorted(groups)))
    return [one for turn in rounds for one in turn if one is not None]


def case_of(
    kind: Literal["win", "loss"], questions: QuestionSet, example: Example, arm: ScoredArm, other: ScoredArm
) -> Case:
    """The case with both answers."""
    row, other_row = arm.by_example[example.example_id][0], other.by_example[example.example_id][0]
    return Case(
        kind=kind,
        set_name=questions.name,
        example=example,
        gold_result=row.gold_result or other_row.gold_result,
        arm=answer_of(arm.results.arm.title, row),
        other=answer_of(other.results.arm.title, other_row),
    )


def answer_of(title: str, row: Judged) -> CaseAnswer:
    """One arm's answer as the report shows it."""
    return CaseAnswer(
        arm_title=title,
        sql=row.candidate.sql,
        verdict=row.verdict,
        outcome=row.outcome,
        message=row.message,
        result=row.result,
    )
