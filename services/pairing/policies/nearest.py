"""Pairs that differ in little."""

from services.pairing.choices import Choice
from services.pairing.policies.base import PickFrom


def nearest(given: PickFrom) -> list[Choice]:
    """The pair with the smallest token distance.

    For models that write sound SQL and slip on details: what differs between the sides is the mistake and little else.
    Too fine for a weak start: with nearly equal sides the loss pushes the tokens that both share.
    """
    return [min(given.choices, key=lambda choice: (choice.distance, choice.order))]
