"""Pairs that differ in much."""

from services.pairing.choices import Choice
from services.pairing.policies.base import PickFrom


def farthest(given: PickFrom) -> list[Choice]:
    """The pair with the largest token distance.

    For a first round with a model that misses whole clauses: the signal is strong and coarse. (Pair selection by
    nearest and farthest edit distance is also in the configuration of ExCoT, arXiv 2503.19988.)
    """
    return [min(given.choices, key=lambda choice: (-choice.distance, choice.order))]
