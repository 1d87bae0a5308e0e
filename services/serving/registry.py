"""The models that an engine serves under immutable names, and the check that the right weights answer.

The check takes *reference log-probabilities*: those that a model gives each token of `REFERENCE_TEXT`. An adapter's
must differ from its base's, or it was not applied. A later load must repeat those of the first, or other weights
answer. This sees more than a comparison of answers: a greedy answer can stay the same although the weights differ.
"""

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.errors import ConflictError, InvalidInputError, NotFoundError

REFERENCE_TEXT = (
    "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER);\n"
    "Question: What are the names of the singers from France, the oldest first?\n"
    "SELECT name FROM singer WHERE country = 'France' ORDER BY age DESC"
)
MIN_ADAPTER_EFFECT = 1e-5  # above the rounding of recorded values; equal weights give equal values
MAX_ROUNDING = 0.05  # what bfloat16 and another order of sums may change


class ServedModel(BaseModel):
    """A name that an engine answers to, and the folders behind it on the engine's disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    base_dir: str
    adapter_dir: str | None = None


class ReferenceLogprobs(BaseModel):
    """Reference log-probabilities of a model and, for an adapter, of its base, at the first load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: list[float]
    base: list[float] | None = None


class BrokenModelError(InvalidInputError):
    code = "model_broken"


def logprob_distance(left: Sequence[float], right: Sequence[float]) -> float:
    """The largest difference; infinite if the tokenizers split the text differently."""
    return math.inf if len(left) != len(right) else max(abs(a - b) for a, b in zip(left, right, strict=True))


def check_weights(name: str, found: ReferenceLogprobs, recorded: ReferenceLogprobs | None) -> ReferenceLogprobs:
    """The reference log-probabilities to record. Raises BrokenModelError if the wrong weights are loaded."""
    if not found.model or not all(map(math.isfinite, found.model)):
        raise BrokenModelError(
            f"The model '{name}' gives no numbers (its weights hold NaN or are empty): train it again."
        )
    if recorded is None:
        if found.base is not None and logprob_distance(found.model, found.base) < MIN_ADAPTER_EFFECT:
            raise BrokenModelError(
                f"The adapter '{name}' changes nothing in its base's reference log-probabilities: "
                "it was not applied, or it is untrained."
            )
        return found
    # half-way to the base: anything farther away may be the base without its adapter
    apart = 0.0 if recorded.base is None else logprob_distance(recorded.model, recorded.base) / 2
    if (off := logprob_distance(found.model, recorded.model)) > max(MAX_ROUNDING, apart):
        raise BrokenModelError(
            f"The model '{name}' does not give its recorded reference log-probabilities (off by {off:.3g}): its folder "
            "holds other weights than at its first load. Remove the name and deploy the model again."
        )
    return recorded


class ServedEntry(BaseModel):
    """A served model, since when (seconds since 1970), and its reference log-probabilities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ServedModel
    created: int
    reference: ReferenceLogprobs | None = None


class Registry:
    """Names and folders in STATE/models.json, replaced atomically, so that a killed engine serves the same names."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._file = state / "models.json"
        self._entries: dict[str, ServedEntry] = {}
        if self._file.is_file():
            entries = map(ServedEntry.model_validate, json.loads(self._file.read_text("utf-8")))
            self._entries = {entry.model.name: entry for entry in entries}

    def names(self) -> list[str]:
        return sorted(self._entries)

    def listing(self) -> dict[str, Any]:
        entries = [self._entries[name] for name in self.names()]
        data = [
            {"id": one.model.name, "object": "model", "created": one.created, "owned_by": "sense"} for one in entries
        ]
        return {"object": "list", "data": data}

    def get(self, name: str) -> ServedEntry:
        """Raises NotFoundError naming the served models."""
        if name not in self._entries:
            served = ", ".join(self.names()) or "none yet"
            raise NotFoundError(f"The model '{name}' is not served here; served are: {served}.", code="model_not_found")
        return self._entries[name]

    def find(self, model: ServedModel) -> ServedEntry | None:
        """The entry of this model if it is served. Raises ConflictError for a known name with other folders,
        NotFoundError or InvalidInputError for bad folders."""
        known = self._entries.get(model.name)
        if known is None:
            _check(Path(model.base_dir), "config.json", "base model")
            if model.adapter_dir is not None:
                _check(Path(model.adapter_dir), "adapter_config.json", "adapter")
        elif known.model != model:
            raise ConflictError(
                f"The name '{model.name}' serves {known.model.base_dir} with adapter {known.model.adapter_dir} "
                "already: names are immutable, choose another one or remove it first."
            )
        return known

    def add(self, model: ServedModel, reference: ReferenceLogprobs | None = None) -> ServedEntry:
        """Registers the model; raises like `find`."""
        entry = self.find(model)
        if entry is None:
            entry = self._entries[model.name] = ServedEntry(model=model, created=int(time.time()), reference=reference)
            self._save()
        return entry

    def remove(self, name: str) -> None:
        self.get(name)
        del self._entries[name]
        self._save()

    def _save(self) -> None:
        entries = [self._entries[name].model_dump() for name in self.names()]
        partial = self._file.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as out:
            json.dump(entries, out, indent=1)
            out.flush()
            # before the rename, or a crash could leave an empty file under the final name
            os.fsync(out.fileno())
        partial.replace(self._file)


def _check(folder: Path, wanted: str, what: str) -> None:
    if not folder.is_absolute():
        raise InvalidInputError(f"The {what} folder '{folder}' is not an absolute path: give the whole path.")
    if not folder.is_dir():
        raise NotFoundError(f"The {what} folder '{folder}' does not exist on the engine's disk.")
    if not (folder / wanted).is_file():
        raise InvalidInputError(f"The folder '{folder}' is no {what}: it has no {wanted}.")
