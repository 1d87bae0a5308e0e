"""Loads models into the memory of the model process and keeps the most recently used ones."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.serving.embedded.llama import SUPPORTED_TYPES, Llama
from services.serving.embedded.prefix_cache import PrefixCache
from services.serving.registry import REFERENCE_TEXT, BrokenModelError, ReferenceLogprobs, ServedModel, check_weights
from services.serving.settings import EmbeddedEngineSettings
from shared.errors import InvalidInputError, SenseError
from shared.models.tokenization import ensure_chat_template


@dataclass(frozen=True)
class LoadedModel:
    llama: Llama
    tokenizer: Any
    eos_token_ids: frozenset[int]
    reference: ReferenceLogprobs


def load_model(base_dir: Path, adapter_dir: Path | None, dtype: torch.dtype) -> LoadedModel:
    """Loads a base and merges an adapter into it (in float32, rounded afterwards).

    Raises InvalidInputError if the embedded engine does not run this architecture.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    quiet: Any = disable_progress_bar
    quiet()

    # float32 so that merging an adapter rounds only once, at the end (docs/decisions/0005)
    model = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32, local_files_only=True)
    kind = model.config.model_type
    # "dynamic" rotations change with the length; ours are computed once for all positions
    if kind not in SUPPORTED_TYPES or _rope_type(model.config) == "dynamic":
        raise InvalidInputError(
            f"The embedded engine runs {', '.join(SUPPORTED_TYPES)} models, and {base_dir} is {kind}: "
            "serve it with vLLM."
        )
    eos_token_ids = _eos_token_ids(model)
    has_tokenizer = adapter_dir is not None and (adapter_dir / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(adapter_dir if has_tokenizer else base_dir, local_files_only=True)
    ensure_chat_template(tokenizer)
    # before the merge, which changes the base's weights in place
    base_logprobs = reference_logprobs(model, tokenizer) if adapter_dir is not None else None
    if adapter_dir is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter_dir, is_trainable=False).merge_and_unload()
    if tokenizer.eos_token_id is not None:
        eos_token_ids.add(tokenizer.eos_token_id)
    reference = ReferenceLogprobs(model=reference_logprobs(model, tokenizer), base=base_logprobs)
    with torch.inference_mode():
        return LoadedModel(Llama(model, dtype), tokenizer, frozenset(eos_token_ids), reference)


def reference_logprobs(model: Any, tokenizer: Any) -> list[float]:
    tokens = torch.tensor([tokenizer(REFERENCE_TEXT, add_special_tokens=False).input_ids])
    with torch.inference_mode():
        scores = torch.log_softmax(model(tokens).logits[0, :-1].float(), -1)
    return [round(float(one), 6) for one in scores.gather(1, tokens[0, 1:, None])[:, 0]]


def _rope_type(config: Any) -> str:
    return str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))


def _eos_token_ids(model: Any) -> set[int]:
    named = model.generation_config.eos_token_id
    if named is None:
        return set()
    return set(named) if isinstance(named, list) else {int(named)}


class ModelCache:
    """Loads a model on first use; at most `models_in_memory` stay. Calls `changed` with their names."""

    def __init__(
        self, settings: EmbeddedEngineSettings, dtype: torch.dtype, changed: Callable[[list[str]], None]
    ) -> None:
        self._settings = settings
        self._dtype = dtype
        self._changed = changed
        self._held: OrderedDict[ServedModel, tuple[LoadedModel, PrefixCache]] = OrderedDict()

    def get(self, model: ServedModel, reference: ReferenceLogprobs | None = None) -> tuple[LoadedModel, PrefixCache]:
        """Loads the model if it is not in memory. Raises BrokenModelError if it does not match `reference`."""
        if model not in self._held:
            # before the new model is loaded, or both would be in memory for a moment
            while len(self._held) >= self._settings.models_in_memory:
                self._held.popitem(last=False)
            loaded = self._load(model)
            check_weights(model.name, loaded.reference, reference)
            for held, (relative, _) in self._held.items():
                # models on one base mostly have the same vocabulary table
                if held.base_dir == model.base_dir:
                    loaded.llama.share_vocabulary(relative.llama)
            store = PrefixCache(loaded.llama, self._settings.prefix_tokens, sharing=self._settings.share_prefixes)
            self._held[model] = (loaded, store)
            self._changed([held.name for held in self._held])
        self._held.move_to_end(model)
        return self._held[model]

    def _load(self, model: ServedModel) -> LoadedModel:
        adapter = None if model.adapter_dir is None else Path(model.adapter_dir)
        try:
            return load_model(Path(model.base_dir), adapter, self._dtype)
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
