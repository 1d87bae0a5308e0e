"""Statistics against values found by hand or by trying every case."""

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluation.scoring.statistics import Estimate, clustered_mean, mcnemar_exact, pass_at_k


def test_mcnemar_by_hand():
    # 8 against 2: 2 * (1 + 10 + 45) / 1024
    assert mcnemar_exact(8, 2) == pytest.approx(112 / 1024)
    assert mcnemar_exact(2, 8) == mcnemar_exact(8, 2)
    assert mcnemar_exact(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(4, 4) == 1.0


@settings(deadline=None)  # 2^18 throws take a while on a busy machine
@given(st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_by_all_coin_throws(wins, losses):
    count = wins + losses
    heads = [sum(throw) for throw in product((0, 1), repeat=count)]
    extreme = sum(abs(2 * h - count) >= abs(wins - losses) for h in heads)
    assert mcnemar_exact(wins, losses) == pytest.approx(extreme / 2**count)


def test_pass_at_k_by_all_draws():
    for samples, correct, k in ((8, 0, 8), (8, 1, 8), (8, 3, 2), (6, 2, 4), (5, 5, 1)):
        answers = [1] * correct + [0] * (samples - correct)
        draws = list(combinations(answers, k))
        assert pass_at_k(samples, correct, k) == pytest.approx(sum(any(d) for d in draws) / len(draws))
    assert pass_at_k(4, 4, 8) is None


def exact_interval_bounds(clusters):
    """Every resample of the clusters, all equally likely: sorted means."""
    names = sorted(clusters)
    means = []
    for draw in product(names, repeat=len(names)):
        values = [value for name in draw for value in clusters[name]]
        means.append(sum(values) / len(values))
    return sorted(means)


def test_clustered_interval_meets_all_resamples():
    clusters = {"a": [1.0, 0.0, 1.0], "b": [0.0, -1.0], "c": [1.0], "d": [0.0, 0.0, 0.0, 1.0]}
    every = exact_interval_bounds(clusters)
    mean = sum(every) / len(every)
    error = (sum((x - mean) ** 2 for x in every) / len(every)) ** 0.5
    found = clustered_mean(clusters, 40_000, 1)
    assert found is not None and found.low is not None and found.high is not None
    assert found.mean == pytest.approx(3 / 10)
    assert found.error == pytest.approx(error, rel=0.03)
    assert found.low == pytest.approx(every[int(0.025 * len(every))], abs=0.06)
    assert found.high == pytest.approx(every[int(0.975 * len(every))], abs=0.06)


def test_clusters_are_drawn_whole():
    """Questions of a database that agree make the interval wider than independent questions would."""
    together = {str(k): [float(k % 2)] * 20 for k in range(6)}
    apart = {str(k): [float(k % 2)] for k in range(120)}
    wide, narrow = clustered_mean(together, 5000, 0), clustered_mean(apart, 5000, 0)
    assert wide is not None and narrow is not None and wide.error is not None and narrow.error is not None
    assert wide.mean == narrow.mean == 0.5
    assert wide.error > 3 * narrow.error


def test_same_seed_same_interval_whatever_the_order():
    clusters = {name: [float(k), 1.0] for k, name in enumerate("fedcba")}
    turned = dict(reversed(clusters.items()))
    assert clustered_mean(clusters, 1000, 7) == clustered_mean(turned, 1000, 7)
    assert clustered_mean(clusters, 1000, 7) != clustered_mean(clusters, 1000, 8)


def test_one_cluster_has_no_interval():
    assert clustered_mean({"a": [1.0, 0.0], "b": []}, 1000, 0) == Estimate(0.5, None, None, None, 1)
    assert clustered_mean({}, 1000, 0) is None


def test_zero_and_smallest_effect():
    assert Estimate(0.1, 0.0, 0.2, 0.05, 9).holds_zero() is True
    assert Estimate(0.1, 0.01, 0.2, 0.05, 9).holds_zero() is False
    assert Estimate(0.1, None, None, None, 1).holds_zero() is None
    assert Estimate(0.1, 0.01, 0.2, 0.05, 9).smallest_effect() == pytest.approx(0.14)
    assert Estimate(0.0, 0.0, 0.0, 0.0, 9).smallest_effect() is None
