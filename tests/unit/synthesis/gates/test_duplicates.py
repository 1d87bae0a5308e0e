"""Near-duplicates: the same in almost the same words goes, the same template on another column stays."""

import pytest

from services.synthesis.gates.duplicates import NearDuplicates
from services.synthesis.gates.features import NO_SCHEMA, extract_features
from tests.support.planted import make

FIRST = (
    "What are the names of all employees who work in the sales department?",
    "SELECT name FROM e WHERE dep = 'sales'",
)


def seen(near: NearDuplicates, question: str, gold: str, scope: str = "train shop") -> bool:
    return near.seen(scope, extract_features(make("d", question, gold), NO_SCHEMA))


@pytest.mark.parametrize(
    ("question", "gold", "duplicate"),
    [
        (FIRST[0], FIRST[1], True),
        ("What are the names of all the employees who work in the sales department?", FIRST[1], True),
        (
            "What are the names of all employees who work in the legal department?",
            "SELECT name FROM e WHERE dep='legal'",
            True,
        ),
        (
            "What are the cities of all employees who work in the sales department?",
            "SELECT city FROM e WHERE dep = 'sales'",
            False,
        ),
        ("Who is in sales?", FIRST[1], False),
        (FIRST[0], "SELECT name, count(*) FROM e WHERE dep = 'sales' GROUP BY name ORDER BY 2 LIMIT 3", False),
    ],
)
def test_near_is_near_in_question_and_sql_over_the_same_names(question: str, gold: str, duplicate: bool) -> None:
    near = NearDuplicates()
    assert not seen(near, *FIRST)
    assert seen(near, question, gold) is duplicate


def test_scopes_are_apart_and_short_questions_are_left_to_others() -> None:
    near = NearDuplicates()
    assert not seen(near, *FIRST)
    assert not seen(near, *FIRST, scope="train bank")
    assert not seen(near, "Names please?", "SELECT a FROM b") and not seen(near, "Names please?", "SELECT a FROM b")


def test_the_estimate_is_close_to_the_similarity() -> None:
    near = NearDuplicates()
    one, other = ([f"w{n}".encode() for n in range(begin, begin + 60)] for begin in (0, 20))
    matched = (near.signature(one) == near.signature(other)).mean()
    assert abs(float(matched) - 40 / 80) < 0.15
