"""The temperature with the most questions that pairs can be made of."""

from services.pairing.tasks import compare_temperatures, count_mixed_questions
from shared.contracts.records import JudgedCandidate, Verdict
from tests.unit.pairing.builders import ERROR, GOOD, WRONG, rows


def questions(*verdicts: tuple[Verdict, ...]) -> list[JudgedCandidate]:
    return [row for number, one in enumerate(verdicts) for row in rows(*one, example=f"e{number}")]


TIMID = questions((GOOD, GOOD), (GOOD, WRONG), (WRONG, WRONG), (Verdict.DISPUTED, WRONG))
BOLD = questions((GOOD, ERROR), (GOOD, WRONG), (WRONG, WRONG), (WRONG, Verdict.UNEXTRACTABLE))


def test_a_question_counts_where_it_has_both() -> None:
    assert count_mixed_questions(TIMID) == (4, 1)
    assert count_mixed_questions(BOLD) == (4, 2)
    assert count_mixed_questions([]) == (0, 0)


def test_the_largest_share_is_chosen_and_among_equals_the_lowest_temperature() -> None:
    assert [one.chosen for one in compare_temperatures([0.6, 1.0], [TIMID, BOLD])] == [False, True]
    assert [one.chosen for one in compare_temperatures([1.0, 0.6], [BOLD, BOLD])] == [False, True]
    assert [one.chosen for one in compare_temperatures([0.6, 0.8], [[], []])] == [True, False]
    assert [(one.questions, one.mixed) for one in compare_temperatures([0.6, 1.0], [TIMID, BOLD])] == [(4, 1), (4, 2)]
