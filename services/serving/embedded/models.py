"""The models in the child's memory, the least recently used out first."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from services.serving.embedded.loading import Loaded, load
from services.serving.embedded.prefix import PrefixStore
from services.serving.embedded.settings import EngineSettings
from services.serving.golden import BrokenModelError, Golden, check_golden
from services.serving.protocol import ServedModel
from shared.errors import SenseError


class Shelf:
    """Loads a model on first use; at most `models_in_memory` stay. `changed` is told the names after every change."""

    def __init__(self, settings: EngineSettings, dtype: torch.dtype, changed: Callable[[list[str]], None]) -> None:
        self._settings = settings
        self._dtype = dtype
        self._changed = changed
        self._held: OrderedDict[ServedModel, tuple[Loaded, PrefixStore]] = OrderedDict()

    def get(self, model: ServedModel, golden: Golden | None = None) -> tuple[Loaded, PrefixStore]:
        """The model, loaded where it is not there. Raises BrokenModelError where it is not what `golden` recorded."""
        if model not in self._held:
            while len(self._held) >= self._settings.models_in_memory:
                self._held.popitem(last=False)
            loaded = self._load(model)
            check_golden(model.name, loaded.golden, golden)
            for held, (relative, _) in self._held.items():
                if held.base_dir == model.base_dir:
                    loaded.llama.share_vocabulary(relative.llama)
            store = PrefixStore(loaded.llama, self._settings.prefix_tokens, sharing=self._settings.share_prefixes)
            self._held[model] = (loaded, store)
            self._changed([held.name for held in self._held])
        self._held.move_to_end(model)
        return self._held[model]

    def _load(self, model: ServedModel) -> Loaded:
        adapter = None if model.adapter_dir is None else Path(model.adapter_dir)
        try:
            return load(Path(model.base_dir), adapter, self._dtype)
        except SenseError:
            raise
        except Exception as error:
            what = f"{model.base_dir}" + (f" with the adapter {adapter}" if adapter else "")
            reason = f"{type(error).__name__}: {str(error)[:300]}"
            raise BrokenModelError(f"The model '{model.name}' cannot be loaded from {what}: {reason}") from error

    def drop(self, name: str) -> None:
        for model in [held for held in self._held if held.name == name]:
            del self._held[model]
        self._changed([held.name for held in self._held])
