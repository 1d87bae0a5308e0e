"""`python -m shared.models.convert SRC.gguf DST`: one GGUF file becomes a Hugging Face folder.

A process of its own, so that its caller never imports torch. Weights are saved as bfloat16, the type SmolLM2 was
published in: the folder is half the size of float32 and a LoRA run keeps its own weights in float32 anyway.
"""

import os
import sys
from pathlib import Path
from typing import Any


def convert(source: Path, target: Path) -> None:
    """Writes config, weights (safetensors, bfloat16), tokenizer and chat template into the existing folder `target`.

    `dequantize=True` matters: without it the model keeps its 4-bit blocks and cannot be saved.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> None:
    """Two arguments: the GGUF file and an existing, empty folder."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    convert(source, target)


if __name__ == "__main__":
    main()
