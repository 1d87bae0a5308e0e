import pytest

from services.benchmarks.compare import compare_scores

DATABASES = {index: f"db{index % 5}" for index in range(40)}


def test_the_difference_is_paired_and_names_its_questions() -> None:
    left = {0: 1.0, 1: 1.0, 2: 0.0, 3: 1.0, 4: None}
    right = {0: 0.0, 1: 1.0, 2: 1.0, 3: 0.0, 4: 1.0, 9: 1.0}
    found = compare_scores(left, right, DATABASES)
    assert found is not None
    assert (found.questions, found.databases, found.difference) == (4, 4, 0.25)
    assert (found.won, found.lost) == ((0, 3), (2,))
    assert found.p_value == 1.0


def test_the_seed_gives_the_same_interval() -> None:
    left = {index: float(index % 2) for index in DATABASES}
    right = {index: float(index % 3 == 0) for index in DATABASES}
    one, same, other = (compare_scores(left, right, DATABASES, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one is not None
    assert other is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.difference < one.high
    assert one.standard_error != other.standard_error


def test_a_clear_win_says_so() -> None:
    found = compare_scores(dict.fromkeys(DATABASES, 1.0), dict.fromkeys(DATABASES, 0.0), DATABASES)
    assert found is not None
    assert (found.low, found.high, found.p_value) == (1.0, 1.0, pytest.approx(2 / 2**40))
    assert found.conclusion == "above, interval clear of zero"


def test_one_database_has_no_interval() -> None:
    found = compare_scores({0: 1.0}, {0: 0.0}, {0: "only"})
    assert found is not None
    assert (found.low, found.high, found.standard_error) == (None, None, None)


def test_nothing_in_common_is_nothing() -> None:
    assert compare_scores({0: 1.0}, {1: 1.0}, DATABASES) is None
