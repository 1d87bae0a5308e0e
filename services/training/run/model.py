"""The policy: base weights, and the adapter that is trained on top of them."""

import os
from importlib.util import find_spec
from typing import Any

import torch

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from services.training.run.lora import lighten
from services.training.run.packing import EAGER_UP_TO, attend_by_lines
from shared.models.completion import ensure_template

# Plain causal transformers, where several completions can share one copy of their prompt under a 4D mask.
SHARING_TYPES = frozenset({"llama", "qwen2", "qwen3"})


def load_tokenizer(config: TrainConfig) -> Any:
    """The base's tokenizer; without a chat template it gets the completion style, which the artefact then carries.

    Raises `TrainingStop` where the base is absent or holds no tokenizer.
    """
    from transformers import AutoTokenizer

    if not (config.base_dir / "config.json").is_file():
        raise TrainingStop(
            ExitCode.DATA, f"The base {config.base_name} is absent: {config.base_dir} holds no config.json."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.base_dir)
    except (OSError, ValueError) as error:
        raise TrainingStop(ExitCode.DATA, f"The base {config.base_name} has no usable tokenizer: {error}") from error
    if tokenizer.eos_token is None:
        raise TrainingStop(
            ExitCode.DATA, f"The tokenizer of {config.base_name} names no eos_token, so an answer could not end."
        )
    ensure_template(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_machine(config: TrainConfig) -> None:
    """What the settings ask of this machine and its packages. Raises `TrainingStop` with the remedy."""
    if config.quantization != "none" and not torch.cuda.is_available():
        raise TrainingStop(
            ExitCode.SETTINGS, "quantization 4bit (QLoRA) needs a GPU and none is here: set quantization: none."
        )
    if config.launch in ("fsdp", "zero3") and not torch.cuda.is_available():
        raise TrainingStop(
            ExitCode.SETTINGS, f"launch {config.launch} needs GPUs and none is here: take a preset for one process."
        )
    wanted = {
        "bitsandbytes": config.quantization != "none",
        "deepspeed": config.launch == "zero3",
        "mlflow": config.report_to == "mlflow",
        "wandb": config.report_to == "wandb",
    }
    for package, needed in wanted.items():
        if needed and find_spec(package) is None:
            raise TrainingStop(
                ExitCode.SETTINGS,
                f"The settings need the package {package}, which the training worker lacks: "
                f"run `pip install {package}` there, or change the setting.",
            )


def load_policy(config: TrainConfig, *, longest: int, bf16: bool) -> Any:
    """A causal LM with trainable LoRA weights in float32 (mode lora), or wholly trainable in float32 (mode full).

    The frozen base of a LoRA run stays in bfloat16 when that is what it computes in anyway: no casts, half the memory.
    """
    from transformers import AutoModelForCausalLM

    cpu = not torch.cuda.is_available()
    dtype = torch.bfloat16 if bf16 and config.mode == "lora" else torch.float32
    attention = "eager" if cpu and longest <= EAGER_UP_TO and not config.gradient_checkpointing else "sdpa"
    more = _quantised() if config.quantization == "4bit" else {}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            config.base_dir, dtype=dtype, attn_implementation=attention, **more
        )
    except (OSError, ValueError) as error:
        raise TrainingStop(ExitCode.DATA, f"The base {config.base_name} cannot be loaded: {error}") from error
    model.config.use_cache = False
    if cpu and shares_prompts(model):
        attend_by_lines(model)
    if config.quantization == "4bit":
        from peft import prepare_model_for_kbit_training

        prepare: Any = prepare_model_for_kbit_training
        model = prepare(model, use_gradient_checkpointing=config.gradient_checkpointing)
    elif config.gradient_checkpointing and config.mode == "lora":
        model.enable_input_require_grads()  # checkpointed blocks of a frozen base would hand no gradient on
    torch.manual_seed(config.seed)
    return _with_adapter(config, model)


def _quantised() -> dict[str, Any]:
    """QLoRA (Dettmers et al. 2023): NF4 with double quantisation, each process its base on its own GPU."""
    from transformers import BitsAndBytesConfig

    kind: Any = BitsAndBytesConfig
    bits = kind(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": bits, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}


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
    lighten(policy)
    return policy


def _trainable(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def shares_prompts(model: Any) -> bool:
    """Whether the architecture allows two completions behind one copy of their prompt."""
    config = model.config.get_text_config()
    return config.model_type in SHARING_TYPES and not getattr(config, "use_sliding_window", False)
