"""The temperature with the most questions that pairs can be made of."""

from services.pairing.sweep import choose, mixed_questions
from shared.contracts.records import Judged, Verdict
from tests.unit.pairing.made import ERROR, GOOD, WRONG, rows


def questions(*verdicts: tuple[Verdict, ...]) -> list[Judged]:
    return [row for number, one in enumerate(verdicts) for row in rows(*one, example=f"e{number}")]


TIMID = questions((GOOD, GOOD), (GOOD, WRONG), (WRONG, WRONG), (Verdict.DISPUTED, WRONG))
BOLD = questions((GOOD, ERROR), (GOOD, WRONG), (WRONG, WRONG), (WRONG, Verdict.UNEXTRACTABLE))


def test_a_question_counts_where_it_has_both() -> None:
    assert mixed_questions(TIMID) == (4, 1)
    assert mixed_questions(BOLD) == (4, 2)
    assert mixed_questions([]) == (0, 0)


def test_the_largest_share_is_chosen_and_among_equals_the_lowest_temperature() -> None:
    assert [one.chosen for one in choose([0.6, 1.0], [TIMID, BOLD])] == [False, True]
    assert [one.chosen for one in choose([1.0, 0.6], [BOLD, BOLD])] == [False, True]
    assert [one.chosen for one in choose([0.6, 0.8], [[], []])] == [True, False]
    assert [(one.questions, one.mixed) for one in choose([0.6, 1.0], [TIMID, BOLD])] == [(4, 1), (4, 2)]
