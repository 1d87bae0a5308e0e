"""Rules over the whole set of pairs."""

import random

import pytest

from services.pairing.collect import SelectionRules, max_unparsed, select_pairs
from shared.contracts.records import Example, Outcome, Pair, Verdict
from tests.support.datasets import make_example
from tests.unit.pairing.builders import pair

EXAMPLES = {name: make_example(0, "0" * 64) for name in ("a", "b", *(f"q{n}" for n in range(40)))}
SYNTAX = {"rejected_outcome": Outcome.SYNTAX_ERROR, "rejected_verdict": Verdict.ERROR}


def fits(_example: Example, _pair: Pair) -> bool:
    return False


def test_the_datasets_pairs_are_kept_once_in_order() -> None:
    pairs = [pair("b"), pair("x"), pair("a"), pair("b"), pair("b", "SELECT c FROM t")]
    found = select_pairs(pairs, EXAMPLES, fits, SelectionRules())
    assert found.pairs == [pairs[0], pairs[2], pairs[4]]
    assert (found.outside, found.duplicates, found.over_limit) == (1, 1, 0)
    cut = select_pairs(pairs, EXAMPLES, fits, SelectionRules(limit=2))
    assert (cut.pairs, cut.over_limit) == ([pairs[0], pairs[2]], 1)
    assert select_pairs([], {}, fits, SelectionRules()).pairs == []


def test_what_the_trainer_would_cut_is_refused_and_counted() -> None:
    pairs = [pair("a"), pair("b", rejected="SELECT " + "x, " * 50)]
    found = select_pairs(pairs, EXAMPLES, lambda _example, one: len(one.rejected) > 100, SelectionRules())
    assert (found.pairs, found.too_long) == ([pairs[0]], 1)


@pytest.mark.parametrize(
    ("others", "share", "most"), [(3, 0.25, 1), (6, 0.25, 2), (5, 0.25, 1), (5, 0, 0), (0, 0.5, 0)]
)
def test_how_many_syntax_errors_a_share_allows(others: int, share: float, most: int) -> None:
    assert max_unparsed(others, share) == most
    assert max_unparsed(others, 1.0) is None


@pytest.mark.parametrize("limit", [None, 10, 25])
def test_syntax_errors_are_capped_over_the_whole_set_by_seed(limit: int | None) -> None:
    pairs = [pair(f"q{n}", **(SYNTAX if n < 20 else {})) for n in range(40)]
    drawn = []
    for seed in (1, 1, 2):
        found = select_pairs(pairs, EXAMPLES, fits, SelectionRules(seed=seed, limit=limit))
        syntax = [one for one in found.pairs if one.rejected_outcome is Outcome.SYNTAX_ERROR]
        assert 4 * len(syntax) <= len(found.pairs)
        assert len(found.pairs) + found.syntax_capped + found.over_limit == 40
        assert [one.example_id for one in found.pairs] == sorted(
            (one.example_id for one in found.pairs), key=lambda name: int(name[1:])
        )
        drawn.append([one.example_id for one in syntax])
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_draw_does_not_depend_on_the_order_of_shards() -> None:
    pairs = [pair(f"q{n}", **(SYNTAX if n % 2 else {})) for n in range(40)]
    kept = {one.example_id for one in select_pairs(pairs, EXAMPLES, fits, SelectionRules()).pairs}
    mixed = random.Random(3).sample(pairs, len(pairs))
    assert {one.example_id for one in select_pairs(mixed, EXAMPLES, fits, SelectionRules()).pairs} == kept
