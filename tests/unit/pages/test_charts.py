"""Bins hold every value once; drawings name what they show and hold nothing that is not a number of ours."""

import xml.etree.ElementTree as ET
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.pairing import ErrorProfile, PairShape, ProfileLine
from shared.pages.charts import ANSWER_KINDS, bin_values, error_charts, histogram, pair_histograms


@given(st.lists(st.integers(0, 5000), max_size=60), st.lists(st.integers(0, 5000), max_size=60))
def test_every_value_is_in_one_bin(one: list[int], other: list[int]) -> None:
    found = bin_values([one, other])
    for values, bins in zip((one, other), found, strict=True):
        assert sum(part.count for part in bins) == len(values)
        for part in bins:
            assert part.count == sum(part.low <= value < part.high for value in values)
        assert all(left.high == right.low for left, right in pairwise(bins))
        assert len(bins) <= 18
    if max([*one, *other], default=0):
        assert [(part.low, part.high) for part in found[0]] == [(part.low, part.high) for part in found[1]]


def test_a_histogram_has_a_bar_a_bin_and_series() -> None:
    (bins,) = bin_values([[1, 1, 2, 9, 30]])
    drawn = ET.fromstring(histogram({"distance": bins}, "tokens"))
    bars = [node for node in drawn if node.get("class") == "distance"]
    assert len(bars) == len(bins) and "number by tokens" in (drawn.get("aria-label") or "")
    heights = [float(bar.get("height") or 0) for bar in bars]
    assert heights[0] == max(heights) and heights.count(0.0) == sum(part.count == 0 for part in bins)


def test_nothing_gives_no_drawing() -> None:
    assert bin_values([[], []]) == [[], []] and histogram({"distance": []}, "tokens") == ""
    assert pair_histograms(PairShape()) == [] and error_charts(ErrorProfile()) == []
    assert [part.count for part in bin_values([[0, 0]])[0]] == [2]


def test_bars_add_up_to_what_failed() -> None:
    line = ProfileLine(name="many_joins", answers=40, correct=10, wrong=20, error=6, timeout=0, unextractable=4)
    outcomes, features = error_charts(ErrorProfile(outcomes=[line], features=[line]))
    assert features.rows[0].label == "many joins" and features.rows[0].value == "75.0 % (30/40)"
    parts = [node for node in ET.fromstring(features.rows[0].strip) if node.tag == "rect"]
    assert [(part.get("class"), part.get("width")) for part in parts] == [
        ("wrong", "50.00%"),
        ("error", "15.00%"),
        ("unextractable", "10.00%"),
    ]
    assert features.legend == {name: ANSWER_KINDS[name] for name in ("wrong", "error", "unextractable")}
    assert outcomes.rows[0].value == "100.0 % (40)" and "correct" in outcomes.legend
