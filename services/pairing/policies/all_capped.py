"""As many pairs as a question gives, up to a bound."""

from services.pairing.choices import Choice
from services.pairing.policies.base import PickFrom


def all_capped(given: PickFrom) -> list[Choice]:
    """One pair a wrong answer, at most `most`, each with a right answer of its own as long as there are some.

    For small sets of questions, where every mistake has to be used; the bound keeps questions that a model finds hard
    from outweighing all others.
    """
    rng = given.rng()
    by_rejected: dict[int, list[Choice]] = {}
    for choice in given.choices:
        by_rejected.setdefault(choice.rejected.slot, []).append(choice)
    used: set[int] = set()
    found: list[Choice] = []
    for slot in rng.sample(list(by_rejected), min(given.most, len(by_rejected))):
        fresh = [choice for choice in by_rejected[slot] if choice.chosen.slot not in used]
        choice = rng.choice(fresh or by_rejected[slot])
        used.add(choice.chosen.slot)
        found.append(choice)
    return sorted(found, key=lambda choice: choice.order)
