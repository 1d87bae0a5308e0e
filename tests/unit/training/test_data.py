"""Rows: what is trained on, what is refused, in which order they come."""

import json
import shutil
from pathlib import Path

import pytest

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from services.training.run.collator import collate_rows
from services.training.run.data import PromptGroupSampler, encode_rows, prompt_groups
from services.training.run.model import load_tokenizer
from shared.models.tokenization import COMPLETION_TEMPLATE
from tests.unit.training.conftest import dpo_line, sft_line, write_lines


def test_only_the_answer_and_its_end_are_targets(sft_config: TrainConfig) -> None:
    import torch

    tokenizer = load_tokenizer(sft_config)
    rows, facts = encode_rows(sft_config, tokenizer)
    assert (facts.rows, facts.kept, facts.dropped) == (24, 24, 0)
    assert tokenizer.decode(rows[1].completions[0]) == "SELECT b FROM t<|im_end|>"
    assert tokenizer.decode(rows[1].prompt).endswith("<|im_start|>assistant\n")
    batch = collate_rows(rows[:2], 2, share_prompt=True, mask_dtype=torch.float32)
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


def test_a_base_without_chat_template_trains_in_completion_style(
    sft_config: TrainConfig, tiny_base: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(tiny_base, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    tokenizer = load_tokenizer(sft_config.model_copy(update={"base_dir": bare}))
    rows, _ = encode_rows(sft_config, tokenizer)
    assert tokenizer.decode(rows[1].prompt) == "SQL\nTx (1)?\nSQL:\n"
    assert tokenizer.decode(rows[1].completions[0]) == "SELECT b FROM t<|im_end|>"
    tokenizer.save_pretrained(tmp_path / "artefact")
    served = load_tokenizer(sft_config.model_copy(update={"base_dir": bare}))
    for one in (tokenizer, served):
        assert one.apply_chat_template(sft_line(1)["prompt"], add_generation_prompt=True)["input_ids"] == rows[1].prompt
    assert (tmp_path / "artefact" / "chat_template.jinja").read_text() == COMPLETION_TEMPLATE


def test_an_absent_base_and_a_broken_tokenizer_are_named(
    sft_config: TrainConfig, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingStop, match="base tiny is absent"):
        load_tokenizer(sft_config.model_copy(update={"base_dir": tmp_path / "nowhere"}))
    bare = shutil.copytree(tiny_base, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    with pytest.raises(TrainingStop, match="tokenizer"):
        load_tokenizer(sft_config.model_copy(update={"base_dir": bare}))


TABLE = "CREATE TABLE t (a, b);\n/* first rows:\na | b\n" + "longer than twelve | 1\n" * 3 + "*/"


def test_long_rows_are_shortened_as_little_as_fits(sft_config: TrainConfig) -> None:
    """Whole, clipped, one row, none; the question is never touched."""
    tokenizer = load_tokenizer(sft_config)
    lines = []
    for index in range(4):
        line = sft_line(index)
        line["prompt"] = [{"role": "user", "content": f"{TABLE}\nQuestion: {'q' * (10 * index)}?"}]
        lines.append(line)
    write_lines(sft_config.data, lines)
    whole, _ = encode_rows(sft_config.model_copy(update={"max_length": 500}), tokenizer)
    limit = whole[0].longest
    rows, facts = encode_rows(sft_config.model_copy(update={"max_length": limit}), tokenizer)
    assert facts.shortened == {"clipped": 1, "one_row": 2}
    assert (facts.kept, facts.dropped, facts.longest <= limit) == (4, 0, True)
    assert facts.lengths["max"] == whole[3].longest > limit
    texts = [tokenizer.decode(row.prompt) for row in rows]
    assert TABLE in texts[0]
    assert "longer than… | 1\nlonger than… | 1" in texts[1]
    assert all(text.count("longer than…") == 1 for text in texts[2:])
    none = encode_rows(sft_config.model_copy(update={"max_length": limit - 62}), tokenizer)
    assert "first rows" not in tokenizer.decode(none[0][3].prompt)
    assert "q" * 30 in tokenizer.decode(none[0][3].prompt)


def test_what_may_be_left_out_is_a_setting(sft_config: TrainConfig) -> None:
    lines = [sft_line(index) for index in range(99)]
    lines[5]["prompt"] = [{"role": "user", "content": "x" * 400}]
    write_lines(sft_config.data, lines)
    assert "dropped_allowed" in refused(sft_config)
    tokenizer = load_tokenizer(sft_config)
    rows, facts = encode_rows(sft_config.model_copy(update={"dropped_allowed": 0.02}), tokenizer)
    assert (len(rows), facts.dropped) == (98, 1)
    everything = sft_config.model_copy(update={"dropped_allowed": 1.0, "max_length": 20})
    assert "All 99 rows are longer than max_length=20" in refused(everything)


def alone(lengths: list[int], seed: int) -> PromptGroupSampler:
    groups = prompt_groups([[length] for length in lengths], 1)
    return PromptGroupSampler(lengths, groups, prompt_group_size=1, batch_size=8, seed=seed)


def test_order_covers_all_rows_and_follows_seed_and_epoch() -> None:
    lengths = [(index * 37) % 101 for index in range(203)]
    sampler = alone(lengths, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(203))
    assert list(alone(lengths, seed=1)) == first
    assert list(alone(lengths, seed=2)) != first
    sampler.set_epoch(1)
    assert list(sampler) != first


def padding(order: list[int], lengths: list[int], size: int) -> int:
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in batches)


def test_batches_hold_rows_of_like_length() -> None:
    lengths = [(index * 37) % 101 for index in range(256)]
    grouped = padding(list(alone(lengths, seed=1)), lengths, 8)
    assert grouped * 3 < padding(list(range(256)), lengths, 8)


def test_prompt_groups_stand_in_one_batch_and_every_row_comes_once() -> None:
    schemas = {schema: tuple(range(schema * 1000, schema * 1000 + 60)) for schema in range(12)}
    prompts = [(*schemas[index % 12], 50_000 + index, 1) for index in range(12 * 8)]
    groups = prompt_groups(prompts, 4)
    assert sorted(map(len, groups)) == [8] * 12
    sampler = PromptGroupSampler([62] * len(prompts), groups, prompt_group_size=4, batch_size=8, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(96))
    groups = [{row % 12 for row in order[start : start + 4]} for start in range(0, 96, 4)]
    assert all(len(group) == 1 for group in groups)
    batches = [{row % 12 for row in order[start : start + 8]} for start in range(0, 96, 8)]
    assert sum(len(batch) == 2 for batch in batches) > 6
    sampler.set_epoch(1)
    assert list(sampler) != order
