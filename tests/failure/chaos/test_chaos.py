"""Seeded rounds in which every kind of disturbance comes; `make chaos RUNS=200 SEED=1` runs more, one kind a round."""

from itertools import islice
from pathlib import Path

import pytest

from tests.failure.chaos.draw import deck
from tests.failure.chaos.faults import HAPPENINGS
from tests.failure.chaos.rounds import Chaos
from tests.failure.chaos.world import chaos_world

FAULTS = 3
ROUNDS = -(-len(HAPPENINGS) // FAULTS)


@pytest.mark.stack
@pytest.mark.timeout(420)
def test_whatever_happens_the_job_ends_and_its_exports_are_equal(tmp_path: Path) -> None:
    with chaos_world(tmp_path) as world:
        chaos = Chaos(world, seed=1, faults=FAULTS)
        chaos.calm()
        played = list(chaos.rounds(ROUNDS))
    table = "\n".join(one.line() for one in played)
    print(table)
    assert {name for one in played for name in one.names} == set(HAPPENINGS)
    assert [one for one in played if one.problems] == [], table


def test_every_kind_comes_before_one_comes_again() -> None:
    assert len(HAPPENINGS) >= 25
    assert sorted(islice(deck(seed=7), len(HAPPENINGS))) == sorted(HAPPENINGS)
