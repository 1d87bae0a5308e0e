"""Which names the engine serves: immutable, and on disk before they are served."""

import json
import os
from pathlib import Path

from services.serving.protocol import ServedModel
from shared.errors import ConflictError, InvalidInputError, NotFoundError


class Registry:
    """Names and folders in STATE/models.json, replaced atomically, so a killed engine has the same names again."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._file = state / "models.json"
        self._models: dict[str, ServedModel] = {}
        if self._file.is_file():
            rows = json.loads(self._file.read_text("utf-8"))
            self._models = {row["name"]: ServedModel.model_validate(row) for row in rows}

    def names(self) -> list[str]:
        return sorted(self._models)

    def get(self, name: str) -> ServedModel:
        """Raises NotFoundError naming the served models."""
        if name not in self._models:
            served = ", ".join(self.names()) or "none yet"
            raise NotFoundError(f"The model '{name}' is not served here; served are: {served}.", code="model_not_found")
        return self._models[name]

    def add(self, model: ServedModel) -> ServedModel:
        """Raises ConflictError (known name, other folders), NotFoundError or InvalidInputError (bad folders)."""
        known = self._models.get(model.name)
        if known is not None and known != model:
            raise ConflictError(
                f"The name '{model.name}' serves {known.base_dir} with adapter {known.adapter_dir} already: "
                "names are immutable, choose another one or remove it first."
            )
        if known is None:
            _check(Path(model.base_dir), "config.json", "base model")
            if model.adapter_dir is not None:
                _check(Path(model.adapter_dir), "adapter_config.json", "adapter")
            self._models[model.name] = model
            self._save()
        return model

    def remove(self, name: str) -> None:
        self.get(name)
        del self._models[name]
        self._save()

    def _save(self) -> None:
        rows = [self._models[name].model_dump() for name in self.names()]
        partial = self._file.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as out:
            json.dump(rows, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(self._file)


def _check(folder: Path, wanted: str, what: str) -> None:
    if not folder.is_absolute():
        raise InvalidInputError(f"The {what} folder '{folder}' is not an absolute path: give the whole path.")
    if not folder.is_dir():
        raise NotFoundError(f"The {what} folder '{folder}' does not exist on the engine's disk.")
    if not (folder / wanted).is_file():
        raise InvalidInputError(f"The folder '{folder}' is no {what}: it has no {wanted}.")
