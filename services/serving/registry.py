"""Which names the engine serves: immutable, and on disk before they are served."""

import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.serving.golden import Golden
from services.serving.protocol import ServedModel
from shared.errors import ConflictError, InvalidInputError, NotFoundError


class Entry(BaseModel):
    """A served model, since when (seconds since 1970), and its golden marks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ServedModel
    created: int
    golden: Golden | None = None


class Registry:
    """Names and folders in STATE/models.json, replaced atomically, so a killed engine has the same names again."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._file = state / "models.json"
        self._entries: dict[str, Entry] = {}
        if self._file.is_file():
            entries = map(read_row, json.loads(self._file.read_text("utf-8")))
            self._entries = {entry.model.name: entry for entry in entries}

    def names(self) -> list[str]:
        return sorted(self._entries)

    def listing(self) -> dict[str, Any]:
        """OpenAI's list of models."""
        entries = [self._entries[name] for name in self.names()]
        data = [
            {"id": one.model.name, "object": "model", "created": one.created, "owned_by": "sense"} for one in entries
        ]
        return {"object": "list", "data": data}

    def get(self, name: str) -> Entry:
        """Raises NotFoundError naming the served models."""
        if name not in self._entries:
            served = ", ".join(self.names()) or "none yet"
            raise NotFoundError(f"The model '{name}' is not served here; served are: {served}.", code="model_not_found")
        return self._entries[name]

    def find(self, model: ServedModel) -> Entry | None:
        """The entry of this very model. Raises ConflictError (known name, other folders), NotFoundError or
        InvalidInputError (bad folders)."""
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

    def add(self, model: ServedModel, golden: Golden | None = None) -> Entry:
        """Serves it from now on. Raises as `find` does."""
        entry = self.find(model)
        if entry is None:
            entry = self._entries[model.name] = Entry(model=model, created=int(time.time()), golden=golden)
            self._save()
        return entry

    def remove(self, name: str) -> None:
        self.get(name)
        del self._entries[name]
        self._save()

    def _save(self) -> None:
        rows = [self._entries[name].model_dump() for name in self.names()]
        partial = self._file.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as out:
            json.dump(rows, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(self._file)


def read_row(row: dict[str, Any]) -> Entry:
    """A row of the file; older versions wrote the model alone."""
    return Entry.model_validate(row if "model" in row else {"model": row, "created": 0})


def _check(folder: Path, wanted: str, what: str) -> None:
    if not folder.is_absolute():
        raise InvalidInputError(f"The {what} folder '{folder}' is not an absolute path: give the whole path.")
    if not folder.is_dir():
        raise NotFoundError(f"The {what} folder '{folder}' does not exist on the engine's disk.")
    if not (folder / wanted).is_file():
        raise InvalidInputError(f"The folder '{folder}' is no {what}: it has no {wanted}.")
