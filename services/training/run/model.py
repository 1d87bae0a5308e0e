"""The policy: base weights, and the adapter that is trained on top of them."""

from typing import Any

import torch

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop

# Eager attention beats PyTorch's CPU kernel on short rows (its backward pass is slow); its memory is quadratic.
EAGER_UP_TO = 512
# Plain causal transformers, where several completions can share one copy of their prompt under a 4D mask.
SHARING_TYPES = frozenset({"llama", "qwen2", "qwen3"})


def use_bf16(choice: str) -> bool:
    """Whether to compute in bfloat16; `auto` asks the hardware."""
    if choice != "auto":
        return choice == "on"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def load_tokenizer(config: TrainConfig) -> Any:
    """The base's tokenizer; refuses one without a chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(config.base_dir)
    if not tokenizer.chat_template:
        raise TrainingStop(
            ExitCode.DATA, f"The base {config.base_name} has no chat template: choose an instruct or chat model."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(config: TrainConfig, *, longest: int, bf16: bool) -> Any:
    """A causal LM with trainable LoRA weights in float32 (mode lora), or wholly trainable in float32 (mode full).

    The frozen base of a LoRA run stays in bfloat16 when that is what it computes in anyway: no casts, half the memory.
    """
    from transformers import AutoModelForCausalLM

    cpu = not torch.cuda.is_available()
    dtype = torch.bfloat16 if bf16 and config.mode == "lora" else torch.float32
    attention = "eager" if cpu and longest <= EAGER_UP_TO else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(config.base_dir, dtype=dtype, attn_implementation=attention)
    model.config.use_cache = False
    torch.manual_seed(config.seed)
    return _with_adapter(config, model)


def _with_adapter(config: TrainConfig, model: Any) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    if config.parent_adapter is not None:
        policy = PeftModel.from_pretrained(model, str(config.parent_adapter), is_trainable=config.mode == "lora")
        if config.mode == "full":
            return _trainable(policy.merge_and_unload())
    elif config.mode == "full":
        return _trainable(model)
    else:
        policy = get_peft_model(
            model,
            LoraConfig(
                r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
    for module in policy.modules():
        if isinstance(module, BaseTunerLayer):
            # Autocast casts where it must; casting every input to the adapter's float32 first is wasted work.
            vars(module)["cast_input_dtype_enabled"] = False
    return policy


def _trainable(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def shares_prompts(model: Any) -> bool:
    """Whether the architecture allows two completions behind one copy of their prompt."""
    config = model.config.get_text_config()
    return config.model_type in SHARING_TYPES and not getattr(config, "use_sliding_window", False)
