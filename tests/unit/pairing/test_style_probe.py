"""The style probe: about one half where style says nothing, one where it says all."""

import random

import pytest

from services.pairing.style_probe import auc, fit_logistic_regression, probe_style, solve_linear_system
from tests.unit.pairing.builders import pair

NAMES = ["age", "name", "country", "year", "weight", "singer_id", "theme", "city"]


def queries(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        f"SELECT {', '.join(rng.sample(NAMES, rng.randrange(1, 6)))} FROM {rng.choice(NAMES)}" for _ in range(count)
    ]


def test_sides_written_alike_cannot_be_told_apart() -> None:
    pairs = [
        pair(f"q{n}", one, other) for n, (one, other) in enumerate(zip(queries(600, 1), queries(600, 2), strict=True))
    ]
    found = probe_style(pairs, 7)
    assert found.auc is not None and abs(found.auc - 0.5) < 0.06
    assert found.pairs == 600


@pytest.mark.parametrize("longer", [True, False])
def test_length_and_case_are_seen(longer: bool) -> None:
    texts = queries(200, 1)
    pairs = [
        pair(f"q{n}", text, f"{text} WHERE a = 1 ORDER BY b" if longer else text.lower())
        for n, text in enumerate(texts)
    ]
    found = probe_style(pairs, 7).auc
    assert found is not None and found > 0.9


def test_the_figure_depends_on_the_pairs_alone() -> None:
    pairs = [pair(f"q{n}", one, f"{one}, x") for n, one in enumerate(queries(100, 1))]
    assert probe_style(pairs, 7) == probe_style(pairs[::-1], 7)


def test_a_few_pairs_give_no_figure() -> None:
    assert probe_style([pair(f"q{n}") for n in range(8)], 1).auc is None
    assert probe_style([], 1).auc is None
    same = probe_style([pair(f"q{n}", "SELECT 1", "SELECT 1") for n in range(60)], 1)
    assert same.auc == 0.5


def test_the_parts() -> None:
    assert auc([3, 4], [1, 2]) == 1 and auc([1], [2]) == 0 and auc([1, 2], [1, 2]) == 0.5
    assert solve_linear_system([[2.0, 1.0], [1.0, 3.0]], [3.0, 5.0]) == pytest.approx([0.8, 1.4])
    weights = fit_logistic_regression([[1.0, -1.0], [1.0, 1.0]] * 50, [0.0, 1.0] * 50)
    assert weights[1] > 1 and weights[0] == pytest.approx(0, abs=1e-6)
