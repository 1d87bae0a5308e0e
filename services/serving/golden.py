"""The golden check: what a model makes of one fixed text says whether the right weights answer under a name.

A model's *marks* are the log-probabilities that it gives each token of `TEXT`. An adapter's marks must differ from its
base's, or it was not applied; a later load must give the marks of the first, or other weights answer. This sees more
than comparing two answers: a greedy answer can stay the same although the weights are others.
"""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from shared.errors import InvalidInputError

TEXT = (
    "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER);\n"
    "Question: What are the names of the singers from France, the oldest first?\n"
    "SELECT name FROM singer WHERE country = 'France' ORDER BY age DESC"
)
NO_EFFECT = 1e-5  # above the rounding of what is recorded; equal weights give equal marks
ROUNDING = 0.05  # the same where sums are taken in bfloat16 and in another order


class Golden(BaseModel):
    """Marks of a model and, for an adapter, of its base, as they were at the first load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    own: list[float]
    base: list[float] | None = None


class BrokenModelError(InvalidInputError):
    """The weights behind a name are not what they should be."""

    code = "model_broken"


def distance(left: Sequence[float], right: Sequence[float]) -> float:
    """The largest difference; infinite where the texts were cut into other tokens."""
    return math.inf if len(left) != len(right) else max(abs(a - b) for a, b in zip(left, right, strict=True))


def check_golden(name: str, found: Golden, recorded: Golden | None) -> Golden:
    """The marks to keep. Raises BrokenModelError saying what is wrong with the load."""
    if not found.own or not all(map(math.isfinite, found.own)):
        raise BrokenModelError(
            f"The model '{name}' gives no numbers (its weights hold NaN or are empty): train it anew."
        )
    if recorded is None:
        if found.base is not None and distance(found.own, found.base) < NO_EFFECT:
            raise BrokenModelError(
                f"The adapter '{name}' changes nothing of its base's golden answer: "
                "it was not applied, or it is untrained."
            )
        return found
    apart = 0.0 if recorded.base is None else distance(recorded.own, recorded.base) / 2
    if (off := distance(found.own, recorded.own)) > max(ROUNDING, apart):
        raise BrokenModelError(
            f"The model '{name}' does not give its recorded golden answer (off by {off:.3g}): other weights lie in its "
            "folder than at its first load. Remove the name and deploy the model again."
        )
    return recorded
