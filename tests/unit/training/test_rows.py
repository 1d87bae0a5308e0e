"""Rows: what is trained on, what is refused, in which order they come."""

import json
from pathlib import Path

import pytest

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from services.training.run.batches import LengthGrouped, lay_out
from services.training.run.model import load_tokenizer
from services.training.run.rows import encode_rows
from tests.unit.training.conftest import dpo_line, sft_line, write_lines


def test_only_the_answer_and_its_end_are_targets(sft_config: TrainConfig) -> None:
    import torch

    tokenizer = load_tokenizer(sft_config)
    rows, facts = encode_rows(sft_config, tokenizer)
    assert (facts.rows, facts.kept, facts.dropped) == (24, 24, 0)
    assert tokenizer.decode(rows[1].completions[0]) == "SELECT b FROM t<|im_end|>"
    assert tokenizer.decode(rows[1].prompt).endswith("<|im_start|>assistant\n")
    batch = lay_out(rows[:2], 2, share_prompt=True, mask_dtype=torch.float32)
    assert batch["targets"].tolist() == [*rows[0].completions[0], *rows[1].completions[0]]
    width = batch["input_ids"].shape[1]
    after = batch["input_ids"].flatten()[batch["sources"] + 1]
    assert after.tolist() == batch["targets"].tolist()
    assert int(batch["sources"][0]) == len(rows[0].prompt) - 1
    assert int(batch["sources"][len(rows[0].completions[0])]) == width + len(rows[1].prompt) - 1


def test_the_prompt_is_what_serving_renders(sft_config: TrainConfig) -> None:
    tokenizer = load_tokenizer(sft_config)
    rows, _ = encode_rows(sft_config, tokenizer)
    served = tokenizer.apply_chat_template(sft_line(0)["prompt"], add_generation_prompt=True)["input_ids"]
    assert rows[0].prompt == served


def test_pairs_share_one_prompt(dpo_config: TrainConfig) -> None:
    tokenizer = load_tokenizer(dpo_config)
    rows, _ = encode_rows(dpo_config, tokenizer)
    answers = [tokenizer.decode(ids) for ids in rows[2].completions]
    assert answers == ["SELECT 2 FROM t<|im_end|>", "SELECT * FROM tttt<|im_end|>"]
    assert len(rows) == 12


def refused(config: TrainConfig) -> str:
    with pytest.raises(TrainingStop) as caught:
        encode_rows(config, load_tokenizer(config))
    assert caught.value.code is ExitCode.DATA
    return caught.value.message


def test_too_many_long_rows_are_refused(sft_config: TrainConfig) -> None:
    message = refused(sft_config.model_copy(update={"max_length": 60}))
    assert "24 rows" in message
    assert "max_length=60" in message


def test_one_long_row_in_a_hundred_is_dropped(sft_config: TrainConfig) -> None:
    long = sft_line(0) | {"completion": [{"role": "assistant", "content": "x" * 300}]}
    write_lines(sft_config.data, [*[sft_line(index) for index in range(99)], long])
    rows, facts = encode_rows(sft_config, load_tokenizer(sft_config))
    assert (len(rows), facts.kept, facts.dropped) == (99, 99, 1)
    write_lines(sft_config.data, [*[sft_line(index) for index in range(98)], long])
    assert "1 of 99" in refused(sft_config)


def test_broken_rows_are_named(sft_config: TrainConfig) -> None:
    sft_config.data.write_text(json.dumps(sft_line(0)) + "\n" + json.dumps(dpo_line(1)) + "\n")
    assert refused(sft_config).startswith(f"Line 2 of {sft_config.data} is no sft row")


def test_no_rows_are_refused(sft_config: TrainConfig, tmp_path: Path) -> None:
    sft_config.data.write_text("\n")
    assert "no rows" in refused(sft_config)
    assert "cannot be read" in refused(sft_config.model_copy(update={"data": tmp_path / "none"}))


def test_a_base_without_chat_template_is_refused(sft_config: TrainConfig, tiny_base: Path, tmp_path: Path) -> None:
    import shutil

    bare = shutil.copytree(tiny_base, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(TrainingStop, match="no chat template"):
        load_tokenizer(sft_config.model_copy(update={"base_dir": bare}))


def test_order_covers_all_rows_and_follows_seed_and_epoch() -> None:
    lengths = [(index * 37) % 101 for index in range(203)]
    sampler = LengthGrouped(lengths, 8, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(203))
    assert list(LengthGrouped(lengths, 8, seed=1)) == first
    assert list(LengthGrouped(lengths, 8, seed=2)) != first
    sampler.set_epoch(1)
    assert list(sampler) != first


def padding(order: list[int], lengths: list[int], size: int) -> int:
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in batches)


def test_batches_hold_rows_of_like_length() -> None:
    lengths = [(index * 37) % 101 for index in range(256)]
    grouped = padding(list(LengthGrouped(lengths, 8, seed=1)), lengths, 8)
    assert grouped * 3 < padding(list(range(256)), lengths, 8)
