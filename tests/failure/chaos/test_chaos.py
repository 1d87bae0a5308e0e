"""Ten seeded rounds, or as many as fit; `make chaos RUNS=200 SEED=1` runs more."""

import time
from pathlib import Path

import pytest

from tests.failure.chaos.faults import HAPPENINGS
from tests.failure.chaos.rounds import Chaos
from tests.failure.chaos.world import VARIANTS, chaos_world

ROUNDS, BEGIN_NONE_AFTER_S = 10, 50.0


@pytest.mark.bench  # make chaos runs it; minutes of a whole stack are too many for every landing
@pytest.mark.stack
@pytest.mark.timeout(280)
def test_whatever_happens_the_job_ends_and_its_exports_are_equal(tmp_path: Path) -> None:
    began, played = time.monotonic(), []
    with chaos_world(tmp_path) as world:
        chaos = Chaos(world, seed=1)
        chaos.calm()
        for one in chaos.rounds(ROUNDS):
            played.append(one)
            if len(played) % VARIANTS == 0 and time.monotonic() - began > BEGIN_NONE_AFTER_S:
                break
    table = "\n".join(one.line() for one in played)
    print(table)
    assert len(played) >= VARIANTS
    assert [one for one in played if one.problems] == [], table


def test_every_kind_comes_before_one_comes_again() -> None:
    deck = sorted(HAPPENINGS)
    assert len(deck) == len(set(deck)) >= 20
