"""Pairs against the mistakes a model is sure of."""

from services.pairing.choices import Choice
from services.pairing.policies.base import PickFrom


def hardest(given: PickFrom) -> list[Choice]:
    """The wrong answer whose result most samples share, against the right answer nearest to it.

    For on-policy rounds: a mistake that many samples make is where the model's probability lies, so that the pair moves
    it most. It concentrates wrong golds too; `suspect_gold` takes the worst of them out before.
    """
    return [min(given.choices, key=lambda choice: (-choice.rejected.shared, choice.distance, choice.order))]
