"""The models in the child's memory, the least recently used out first."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from services.serving.embedded.loading import Loaded, load
from services.serving.embedded.prefix import PrefixStore
from services.serving.embedded.settings import EngineSettings
from services.serving.protocol import ServedModel


class Shelf:
    """Loads a model on first use; at most `models_in_memory` stay. `changed` is told the names after every change."""

    def __init__(self, settings: EngineSettings, dtype: torch.dtype, changed: Callable[[list[str]], None]) -> None:
        self._settings = settings
        self._dtype = dtype
        self._changed = changed
        self._held: OrderedDict[ServedModel, tuple[Loaded, PrefixStore]] = OrderedDict()

    def get(self, model: ServedModel) -> tuple[Loaded, PrefixStore]:
        if model not in self._held:
            while len(self._held) >= self._settings.models_in_memory:
                self._held.popitem(last=False)
            adapter = None if model.adapter_dir is None else Path(model.adapter_dir)
            loaded = load(Path(model.base_dir), adapter, self._dtype)
            store = PrefixStore(loaded.llama, self._settings.prefix_tokens, sharing=self._settings.share_prefixes)
            self._held[model] = (loaded, store)
            self._changed([held.name for held in self._held])
        self._held.move_to_end(model)
        return self._held[model]

    def drop(self, name: str) -> None:
        for model in [held for held in self._held if held.name == name]:
            del self._held[model]
        self._changed([held.name for held in self._held])
