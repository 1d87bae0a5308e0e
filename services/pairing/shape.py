"""How a set's pairs look: how far their sides are apart, and how long each side is."""

from collections.abc import Sequence

from shared.contracts.pairing import PairShape
from shared.contracts.records import Pair
from shared.pages.charts import bin_values


def shape_of(pairs: Sequence[Pair]) -> PairShape:
    """Histograms; both sides' lengths have the same bins, so that they can be laid over each other."""
    if not pairs:
        return PairShape()
    (distances,) = bin_values([[pair.distance for pair in pairs]])
    chosen, rejected = bin_values([[len(pair.chosen) for pair in pairs], [len(pair.rejected) for pair in pairs]])
    return PairShape(distances=distances, chosen=chosen, rejected=rejected)
