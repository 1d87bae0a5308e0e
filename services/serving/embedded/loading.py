"""Reading a model from its folders into the engine's own form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.serving.embedded.llama import SUPPORTED, Llama
from services.serving.golden import TEXT, Golden
from shared.errors import InvalidInputError
from shared.models.completion import ensure_template


@dataclass(frozen=True)
class Loaded:
    """A model in memory: weights, tokenizer (with its chat template), the tokens that end an answer, golden marks."""

    llama: Llama
    tokenizer: Any
    ends: frozenset[int]
    golden: Golden


def load(base_dir: Path, adapter_dir: Path | None, dtype: torch.dtype) -> Loaded:
    """Load a base and merge an adapter into it (in float32, rounded afterwards).

    Raises InvalidInputError where the architecture is not one the embedded engine runs.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    quiet: Any = disable_progress_bar
    quiet()

    model = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32, local_files_only=True)
    kind = model.config.model_type
    if kind not in SUPPORTED or _rope_type(model.config) == "dynamic":
        raise InvalidInputError(
            f"The embedded engine runs {', '.join(SUPPORTED)} models, and {base_dir} is {kind}: serve it with vLLM."
        )
    ends = _ends(model)
    own = adapter_dir is not None and (adapter_dir / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(adapter_dir if own else base_dir, local_files_only=True)
    ensure_template(tokenizer)  # a base without one is asked in completion style, as it is trained
    base_marks = marks(model, tokenizer) if adapter_dir is not None else None
    if adapter_dir is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter_dir, is_trainable=False).merge_and_unload()
    if tokenizer.eos_token_id is not None:
        ends.add(tokenizer.eos_token_id)
    golden = Golden(own=marks(model, tokenizer), base=base_marks)
    with torch.inference_mode():
        return Loaded(Llama(model, dtype), tokenizer, frozenset(ends), golden)


def marks(model: Any, tokenizer: Any) -> list[float]:
    """Log-probabilities of the golden text's tokens, after the first."""
    tokens = torch.tensor([tokenizer(TEXT, add_special_tokens=False).input_ids])
    with torch.inference_mode():
        scores = torch.log_softmax(model(tokens).logits[0, :-1].float(), -1)
    return [round(float(one), 6) for one in scores.gather(1, tokens[0, 1:, None])[:, 0]]


def _rope_type(config: Any) -> str:
    return str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))


def _ends(model: Any) -> set[int]:
    named = model.generation_config.eos_token_id
    if named is None:
        return set()
    return set(named) if isinstance(named, list) else {int(named)}
