"""What is clearly faster, told by a clock that the test moves."""

import pytest

from shared import timing


class Clock:
    """Stands still but for what a work takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def work(self, *takes: float):
        left = list(takes)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: found.now)
    return found


@pytest.mark.parametrize(("own", "other", "faster"), [(0.5, 1.0, True), (0.95, 1.0, False), (1.0, 0.5, False)])
def test_near_times_count_as_equal(clock: Clock, own: float, other: float, faster: bool) -> None:
    assert timing.clearly_faster(clock.work(own), clock.work(other)) is faster


def test_one_undisturbed_turn_is_enough(clock: Clock) -> None:
    assert timing.clearly_faster(clock.work(9.0, 9.0, 0.5, 9.0), clock.work(1.0, 7.0))
    assert not timing.clearly_faster(clock.work(0.5), clock.work(9.0, 0.5, 9.0))
