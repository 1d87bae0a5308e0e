"""The policy: base weights, the adapter that is trained on top of them, and two faster layers."""

import os
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from shared.models.tokenization import ensure_chat_template

SEGMENT_ATTENTION = "segments"
# Matrix products beat PyTorch's CPU kernel on short sequences (its backward pass is slow); their memory is quadratic.
EAGER_UP_TO = 512
# Plain causal transformers, in which several completions can share one copy of their prompt under a 4D mask.
SHARED_PROMPT_TYPES = frozenset({"llama", "qwen2", "qwen3"})


def load_tokenizer(config: TrainConfig) -> Any:
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
    # a base without a chat template gets the completion style, which the artefact then carries
    ensure_chat_template(tokenizer)
    if tokenizer.pad_token is None:
        # padding is masked, so any token will do
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_machine(config: TrainConfig) -> None:
    if config.quantization != "none" and not torch.cuda.is_available():
        raise TrainingStop(
            ExitCode.SETTINGS, "quantization 4bit (QLoRA) needs a GPU and none is here: set quantization: none."
        )
    if config.launch in ("fsdp", "zero3") and not torch.cuda.is_available():
        raise TrainingStop(
            ExitCode.SETTINGS, f"launch {config.launch} needs GPUs and none is here: take a preset for one process."
        )
    # optional packages: looked for before the base is loaded
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
    """A causal LM with trainable LoRA weights in float32 (mode lora), or all weights trainable in float32 (mode full).

    The frozen base of a LoRA run stays in bfloat16 if it computes in bfloat16: no casts, half the memory.
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
    if cpu and supports_shared_prompts(model):
        use_segment_attention(model)
    if config.quantization == "4bit":
        from peft import prepare_model_for_kbit_training

        prepare: Any = prepare_model_for_kbit_training
        model = prepare(model, use_gradient_checkpointing=config.gradient_checkpointing)
    elif config.gradient_checkpointing and config.mode == "lora":
        model.enable_input_require_grads()  # else checkpointed blocks of a frozen base pass no gradient on
    # right before the adapter's random weights, whatever loading the base has drawn
    torch.manual_seed(config.seed)
    return _with_adapter(config, model)


def _quantised() -> dict[str, Any]:
    """QLoRA (Dettmers et al. 2023): NF4 with double quantisation; each process loads its base on its own GPU."""
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
            # autocast casts where it must; casting every input to the adapter's float32 first is wasted work
            vars(module)["cast_input_dtype_enabled"] = False
    use_fast_lora(policy)
    return policy


def _trainable(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def supports_shared_prompts(model: Any) -> bool:
    config = model.config.get_text_config()
    return config.model_type in SHARED_PROMPT_TYPES and not getattr(config, "use_sliding_window", False)


class FastLoraLinear(Linear):
    """PEFT's LoRA layer as W x + B (s A x) in three multiplications, for one adapter without dropout.

    PEFT scales and adds the wide product in two more passes, forward and backward. The numbers are the same.
    """

    def forward(self, x: Tensor, *args: Any, **more: Any) -> Tensor:
        active = self.active_adapters
        plain = not (args or more or self.disable_adapters or self.merged) and len(active) == 1
        if not plain or self.use_dora.get(active[0]) or not isinstance(self.lora_dropout[active[0]], nn.Identity):
            whole: Tensor = super().forward(x, *args, **more)
            return whole
        wide: Tensor = self.base_layer(x)
        narrow = self.lora_A[active[0]](x) * self.scaling[active[0]]
        up: Any = self.lora_B[active[0]]
        return torch.addmm(wide.flatten(0, -2), narrow.flatten(0, -2), up.weight.t()).view(wide.shape)


def use_fast_lora(policy: nn.Module) -> None:
    """Swaps the class of LoRA layers on plain linear layers; deep copies of the model keep it."""
    for module in policy.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:
            module.__class__ = FastLoraLinear


def uses_segment_attention(model: Any) -> bool:
    return bool(model.config.get_text_config()._attn_implementation == SEGMENT_ATTENTION)


def use_segment_attention(model: Any) -> None:
    AttentionInterface.register(SEGMENT_ATTENTION, attend_segments)
    # without segments (generation, other batches) it behaves like SDPA and needs SDPA's masks
    AttentionMaskInterface.register(SEGMENT_ATTENTION, sdpa_mask)
    model.set_attn_implementation(SEGMENT_ATTENTION)


def attend_segments(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    segment_lengths: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention over segments that lie end to end in one row, so that no token is padding.

    Takes queries (1, heads, T, size) and keys of as many or fewer heads; returns (1, T, heads, size).
    `segment_lengths`: (S); the first is the length of the *root* (0 if there is none), which all other segments see.
    `attention_mask`: (1, 1, T, root + longest segment), added to the scores of the tokens of the root and of the same
    segment.
    """
    if segment_lengths is None or attention_mask is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
        return plain
    sizes: list[int] = segment_lengths.tolist()
    keys, values = torch.split(key, sizes, 2), torch.split(value, sizes, 2)
    out, start = [], 0
    for index, q in enumerate(torch.split(query, sizes, 2)):
        if not sizes[index]:
            continue
        # segment 0 is the root, which attends to itself alone
        behind = index > 0 and sizes[0] > 0
        k = torch.cat([keys[0], keys[index]], 2) if behind else keys[index]
        v = torch.cat([values[0], values[index]], 2) if behind else values[index]
        out.append(_attend_segment(q, k, v, attention_mask[:, :, start : start + sizes[index], : k.shape[2]], scaling))
        start += sizes[index]
    return torch.cat(out, 2).transpose(1, 2), None


def _attend_segment(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float) -> Tensor:
    # queries of heads that share a key head stand side by side, so that no key is repeated
    # the scores of long segments would take memory quadratic in their length
    if k.shape[2] > EAGER_UP_TO:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scaling, enable_gqa=True)
    heads, tokens, size = q.shape[1:]
    shared = heads // k.shape[1]
    scores = torch.matmul(q.reshape(k.shape[1], shared * tokens, size) * scaling, k[0].transpose(1, 2))
    weights = torch.softmax(scores.view(-1, shared, tokens, k.shape[2]) + mask, -1, dtype=torch.float32).to(v.dtype)
    return torch.matmul(weights.view(-1, shared * tokens, k.shape[2]), v[0]).view(1, heads, tokens, size)
