"""The release's policy, as far as its name tells (`grouped-any-limit1`)."""

from services.pairing.choices import Choice
from services.pairing.policies.base import PickFrom


def one_per_question(given: PickFrom) -> list[Choice]:
    """Any right answer against any wrong one, one pair a question, drawn by seed.

    The default: every question weighs the same, and the draw favours no kind of mistake.
    """
    return [given.rng().choice(given.choices)]
