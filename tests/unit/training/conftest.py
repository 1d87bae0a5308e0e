"""A tiny random base with a tiny tokenizer, and rows for it: no download, a second a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.training.config import TrainConfig

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _tokenizer(folder: Path) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["<unk>", "<|im_start|>", "<|im_end|>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=TEMPLATE)
    tokenizer.save_pretrained(folder)
    return len(vocab)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    size = _tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=2,
        eos_token_id=2,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _prompt(index: int) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "SQL"},
        {"role": "user", "content": f"T{'x' * (index % 7)} ({index})?"},
    ]


def sft_line(index: int) -> dict[str, object]:
    return {
        "prompt": _prompt(index),
        "completion": [{"role": "assistant", "content": f"SELECT {'ab'[index % 2]} FROM t"}],
        "example_id": str(index),
        "database_id": "d",
        "domain": "d",
        "level": "easy",
        "writer": "grammar",
    }


def dpo_line(index: int) -> dict[str, object]:
    return {
        "prompt": _prompt(index),
        "chosen": [{"role": "assistant", "content": f"SELECT {index} FROM t"}],
        "rejected": [{"role": "assistant", "content": f"SELECT * FROM tt{'t' * (index % 3)}"}],
        "example_id": str(index),
        "database_id": "d",
        "domain": "d",
        "source_model": "m",
        "outcome_rejected": "ok",
        "verdict_rejected": "wrong",
    }


def write_lines(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def sft_config(tiny_base: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        method="sft",
        name="tiny-sft",
        base_name="tiny",
        base_dir=tiny_base,
        data=write_lines(tmp_path / "sft.jsonl", [sft_line(index) for index in range(24)]),
        out_dir=tmp_path / "sft",
        lora_rank=4,
        lora_alpha=8,
        learning_rate=2e-2,
        batch_size=4,
        max_length=256,
        max_steps=10,
        threads=1,
        bf16=False,
        warmup_ratio=0,
    )


@pytest.fixture(scope="session")
def sft_artefact(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that a real run left, for everything that continues one."""
    import time

    from services.training.exits import StopFlag
    from services.training.run.train import train

    folder = tmp_path_factory.mktemp("parent")
    config = TrainConfig(
        method="sft",
        name="parent",
        base_name="tiny",
        base_dir=tiny_base,
        data=write_lines(folder / "sft.jsonl", [sft_line(index) for index in range(8)]),
        out_dir=folder / "out",
        lora_rank=4,
        lora_alpha=8,
        learning_rate=2e-2,
        batch_size=4,
        max_length=256,
        max_steps=3,
        threads=1,
        bf16=False,
    )
    config.out_dir.mkdir()
    train(config, StopFlag(), time.monotonic())
    return config.artefact_dir


@pytest.fixture
def dpo_config(sft_config: TrainConfig, sft_artefact: Path, tmp_path: Path) -> TrainConfig:
    return sft_config.model_copy(
        update={
            "method": "dpo",
            "name": "tiny-dpo",
            "parent_adapter": sft_artefact,
            "data": write_lines(tmp_path / "dpo.jsonl", [dpo_line(index) for index in range(12)]),
            "out_dir": tmp_path / "dpo",
            "learning_rate": 5e-3,
        }
    )
