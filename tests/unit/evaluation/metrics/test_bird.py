import sqlite3
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.benchmarks.prediction_files import read_bird_pairs
from services.evaluation.metrics.bird import reward, rves_of, soft_f1, time_ratio
from shared.errors import InvalidInputError
from tests.support.benchmarks import DATA, needs_data

CELLS = st.sampled_from([0, 1, 2, 1.0, None, "a", "b", "1", b"x"])
Table = list[tuple[object, ...]]


def tables(columns: st.SearchStrategy[int] = st.integers(1, 3)) -> st.SearchStrategy[Table]:
    return columns.flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), max_size=5))


@pytest.mark.parametrize(
    ("pred", "gold", "official", "strict"),
    [
        ([], [], 1.0, 1.0),
        ([(1,)], [], 0.0, 0.0),
        ([], [(1,)], 0.0, 0.0),
        ([(1, 2)], [(1, 2)], 1.0, 1.0),
        ([(1, 3)], [(1, 2)], 0.5, 0.5),
        # Columns in another order are equal, a column too many costs half of precision.
        ([(2, 1)], [(1, 2)], 1.0, 1.0),
        ([(1, 7)], [(1,)], 2 / 3, 2 / 3),
        # A row in front moves all that follow.
        ([(9,), (1,), (2,)], [(1,), (2,)], 0.0, 0.8),
        ([(2,), (1,)], [(1,), (2,)], 0.0, 1.0),
        # Duplicates are dropped officially.
        ([(1,), (1,)], [(1,)], 1.0, 2 / 3),
        # A repeated cell counts each time.
        ([(1, 1)], [(1, 2)], 2 * 1 * (2 / 3) / (1 + 2 / 3), 0.5),
    ],
)
def test_soft_f1(pred: Table, gold: Table, official: float, strict: float) -> None:
    assert soft_f1(pred, gold) == pytest.approx(official)
    assert soft_f1(pred, gold, "strict") == pytest.approx(strict)


@given(tables())
def test_duplicates_do_not_change_soft_f1_officially(rows: Table) -> None:
    assert soft_f1(rows + rows, rows) == soft_f1(rows, rows) == 1.0


@given(tables(st.just(2)), tables(st.just(2)))
def test_turning_the_columns_of_either_side_does_not_change_soft_f1(pred: Table, gold: Table) -> None:
    assert soft_f1([row[::-1] for row in pred], gold) == soft_f1(pred, gold)
    assert soft_f1(pred, [row[::-1] for row in gold]) == soft_f1(pred, gold)


@given(tables(st.just(2)), st.randoms(use_true_random=False))
def test_row_order_does_not_change_strict_soft_f1_of_equal_tables(rows: Table, random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert soft_f1(shuffled, rows, "strict") == 1.0
    assert soft_f1(shuffled, rows) <= 1.0


@given(tables(), tables())
def test_soft_f1_lies_between_0_and_1(pred: Table, gold: Table) -> None:
    assert 0.0 <= soft_f1(pred, gold) <= 1.0
    assert 0.0 <= soft_f1(pred, gold, "strict") <= 1.0


def test_time_ratio_is_the_mean_of_runs_without_outliers() -> None:
    assert time_ratio([1.0, 2.0], [1.0, 1.0]) == 1.5
    assert time_ratio([1.0] * 50 + [1.5] * 50 + [1e6], [1.0] * 101) == 1.25


def test_equal_ratios_score_nothing_officially() -> None:
    assert time_ratio([1.0, 1.0], [2.0, 2.0]) == 0.0
    assert time_ratio([1.0, 1.0], [2.0, 2.0], "strict") == 0.5


def test_times_that_cannot_be_compared() -> None:
    assert time_ratio([1.0, 2.0], [0.0, 1.0]) == 0.0
    assert time_ratio([], []) == 0.0
    with pytest.raises(InvalidInputError, match="2 gold times for 1"):
        time_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("ratio", "worth"),
    [(0, 0), (0.1, 0.25), (0.25, 0.5), (0.49, 0.5), (0.5, 0.75), (1, 1), (1.99, 1), (2, 1.25), (9, 1.25)],
)
def test_rewards(ratio: float, worth: float) -> None:
    assert reward(ratio) == worth
    assert rves_of(ratio) == 100 * sqrt(worth)


@needs_data
def test_superhero_of_mini_dev_scores_what_the_official_scripts_say() -> None:
    pairs = read_bird_pairs(
        DATA / "bird/mini_dev/mini_dev_sqlite_gold.sql",
        DATA / "predictions/bird_minidev/predict_mini_dev_gpt-4-turbo_cot_SQLite.json",
    ).pairs
    path = DATA / "bird/dev_databases/superhero/superhero.sqlite"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    exact, soft = [], []
    for pair in [pair for pair in pairs if pair.db_id == "superhero"]:
        gold = database.execute(pair.gold).fetchall()
        try:
            pred = database.execute(pair.prediction).fetchall()
        except sqlite3.Error:
            exact.append(0)
            soft.append(0.0)
        else:
            exact.append(int(set(pred) == set(gold)))
            soft.append(soft_f1(pred, gold))
    database.close()
    assert len(exact) == 52
    assert round(100 * sum(exact) / 52, 2) == 88.46
    assert round(100 * sum(soft) / 52, 2) == 90.95
