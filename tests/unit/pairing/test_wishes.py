"""What fails most is wished for most; what is rare says little; nothing is wished for where nothing failed more."""

import pytest

from services.pairing.error_profile import ErrorTally, derive_wishes
from shared.contracts.pairing import ErrorProfile, ProfileLine
from shared.contracts.records import Wish
from tests.unit.pairing.builders import ERROR, GOOD, WRONG, row

LEVELS = {"easy": 0.5, "medium": 0.5, "hard": 0.0}


def line(name: str, answers: int, correct: int) -> ProfileLine:
    wrong = answers - correct
    return ProfileLine(name=name, answers=answers, correct=correct, wrong=wrong, error=0, timeout=0, unextractable=0)


def weights(wishes: list[Wish], kind: str) -> dict[str, float]:
    return {wish.name: wish.weight for wish in wishes if wish.kind == kind}


def test_features_that_fail_more_than_the_average_are_wished_for() -> None:
    profile = ErrorProfile(
        outcomes=[line("ok", 400, 200)],
        features=[line("join", 200, 60), line("having", 100, 20), line("order", 100, 90), line("none of these", 50, 0)],
    )
    found = weights(derive_wishes(profile, LEVELS), "feature")
    assert set(found) == {"having", "join"}, "what is easier than the average is not, and no feature is none"
    assert found["having"] > found["join"]
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_a_few_answers_weigh_little() -> None:
    profile = ErrorProfile(
        outcomes=[line("ok", 400, 200)], features=[line("exists", 2, 0), line("join", 200, 60), line("like", 198, 140)]
    )
    found = weights(derive_wishes(profile, LEVELS), "feature")
    assert found["exists"] < found["join"], "two wrong answers of two are no rate of 100 %"


def test_levels_keep_their_shares_and_lean_to_what_fails() -> None:
    profile = ErrorProfile(
        outcomes=[line("ok", 200, 100)], levels=[line("easy", 100, 80), line("medium", 100, 20), line("hard", 9, 0)]
    )
    found = weights(derive_wishes(profile, {"easy": 0.5, "medium": 0.5, "hard": 0.0}), "level")
    assert set(found) == {"easy", "medium"}, "a level that the spec leaves out stays out"
    assert 0.5 < found["medium"] < 0.9


@pytest.mark.parametrize("right", [0, 50])
def test_no_feature_is_wished_for_where_none_stands_out(right: int) -> None:
    even = [line("join", 25, right // 2), line("group", 25, right // 2)]
    profile = ErrorProfile(outcomes=[line("ok", 50, right)], features=even)
    assert weights(derive_wishes(profile, LEVELS), "feature") == {}
    assert weights(derive_wishes(ErrorProfile(), LEVELS), "level") == {"easy": 0.5, "medium": 0.5}


def test_answers_are_counted_by_the_level_of_their_question() -> None:
    tally = ErrorTally()
    tally.add_answers([row(0, GOOD), row(1, WRONG), row(2, ERROR)], "medium")
    tally.add_answers([row(0, GOOD, example="e2")], "easy")
    found = tally.profile()
    assert [(one.name, one.answers, one.correct) for one in found.levels] == [("easy", 1, 1), ("medium", 3, 1)]
    assert tally.named("reason") == {}
