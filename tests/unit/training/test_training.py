"""Whole runs on the tiny base, in this process."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from services.training.checkpoints import SEAL_FILE, newest_sealed, seal, sealed_steps
from services.training.config import TrainConfig
from services.training.exits import ExitCode, StopFlag, TrainingStop
from services.training.run import devices
from services.training.run.data import encode_rows
from services.training.run.losses import sequence_logps, token_logps
from services.training.run.model import load_policy, load_tokenizer
from services.training.run.train import train
from services.training.run.trainers import SharedPrefixDPOTrainer, SharedPrefixSFTTrainer, to_dataset


def run(config: TrainConfig) -> list[dict[str, Any]]:
    config.out_dir.mkdir(parents=True, exist_ok=True)
    train(config, StopFlag(), time.monotonic())
    return [json.loads(line) for line in config.metrics_file.read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_sft_learns_and_leaves_an_artefact(sft_config: TrainConfig) -> None:
    lines = run(sft_config)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert set(lines[0]) == {"step", "total_steps", "loss", "lr", "epoch", "tokens", "seconds"}
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    names = {path.name for path in sft_config.artefact_dir.iterdir()}
    assert names >= {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"}
    adapter = json.loads((sft_config.artefact_dir / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "tiny"
    facts = json.loads((sft_config.artefact_dir / "train.json").read_text())
    assert (facts["steps"], facts["data"]["rows"], facts["data"]["dropped"]) == (10, 24, 0)
    card = (sft_config.artefact_dir / "README.md").read_text()
    assert facts["data"]["sha256"] in card
    assert str(sft_config.out_dir) not in card + json.dumps(facts)


def test_the_same_seed_gives_the_same_weights(sft_config: TrainConfig, tmp_path: Path) -> None:
    run(sft_config)
    other = sft_config.model_copy(update={"out_dir": tmp_path / "again"})
    run(other)
    first, second = weights(sft_config.artefact_dir), weights(other.artefact_dir)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dpo_widens_the_margin(dpo_config: TrainConfig) -> None:
    lines = run(dpo_config)
    assert lines[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert lines[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert lines[-1]["margin"] > 0.05
    assert lines[-1]["accuracy"] > 0.9
    facts = json.loads((dpo_config.artefact_dir / "train.json").read_text())
    assert len(facts["parent_adapter_sha256"]) == 64
    assert not list(dpo_config.artefact_dir.glob("ref*"))


@pytest.mark.parametrize(
    "setting",
    [{"loss": "ipo", "beta": 0.5}, {"label_smoothing": 0.1}, {"rpo_alpha": 0.5}, {"precompute_reference": False}],
)
def test_every_preference_loss_widens_the_margin(dpo_config: TrainConfig, setting: dict[str, Any]) -> None:
    lines = run(dpo_config.model_copy(update={**setting, "max_steps": 6}))
    assert lines[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["margin"] > 0.01
    assert not list(dpo_config.artefact_dir.glob("ref*"))


def test_a_reference_asked_in_every_step_gives_the_same_curve(dpo_config: TrainConfig, tmp_path: Path) -> None:
    once = run(dpo_config)
    always = run(dpo_config.model_copy(update={"precompute_reference": False, "out_dir": tmp_path / "always"}))
    for first, second in zip(once, always, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=2e-4)
        assert first["margin"] == pytest.approx(second["margin"], abs=2e-3)


def test_a_resumed_run_keeps_the_reference_that_was_noted(dpo_config: TrainConfig) -> None:
    """Even a policy that was loaded from somewhere else finds the SFT artefact's numbers."""
    run(dpo_config.model_copy(update={"max_steps": 1}))
    noted = json.loads(dpo_config.reference_file.read_text())
    assert [len(pair) for pair in noted] == [2] * 12
    dpo_config.reference_file.write_text(json.dumps([[-1.0, -2.0]] * 12))
    trainer, _ = dpo_trainer(dpo_config)
    assert list(trainer.train_dataset["reference"]) == [[-1.0, -2.0]] * 12


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_gradient_checkpointing_changes_no_number(sft_config: TrainConfig, tmp_path: Path, mode: str) -> None:
    short = sft_config.model_copy(update={"mode": mode, "max_steps": 3, "learning_rate": 5e-3})
    plain = run(short)
    again = run(short.model_copy(update={"gradient_checkpointing": True, "out_dir": tmp_path / "again"}))
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in plain], rel=1e-4)


def test_data_with_one_row_trains(sft_config: TrainConfig, dpo_config: TrainConfig) -> None:
    for config in (sft_config, dpo_config):
        config.data.write_text(config.data.read_text().splitlines(keepends=True)[0])
        lines = run(config.model_copy(update={"max_steps": 3}))
        assert lines[-1]["loss"] < lines[0]["loss"]


def test_the_clock_asks_for_checkpoints(sft_config: TrainConfig) -> None:
    run(sft_config.model_copy(update={"save_minutes": 1e-9}))
    assert sealed_steps(sft_config.out_dir) == [8, 9]  # two are kept; after the last step there is nothing to save


def test_a_stopped_run_saves_where_it_stands(sft_config: TrainConfig) -> None:
    config = sft_config.model_copy(update={"save_minutes": 60})
    config.out_dir.mkdir()

    class Late(StopFlag):
        def check(self) -> None:
            if config.metrics_file.exists() and config.metrics_file.read_text():
                super().check()

    late = Late()
    late.is_set = True
    with pytest.raises(TrainingStop) as caught:
        train(config, late, time.monotonic())
    assert caught.value.code is ExitCode.CANCELLED
    assert sealed_steps(config.out_dir) == [1]
    lines = run(config)
    assert [line["step"] for line in lines] == list(range(1, 11))


def test_the_curve_is_left_as_a_tensorboard_file(sft_config: TrainConfig) -> None:
    from tensorboardX.proto.event_pb2 import Event

    lines = run(sft_config)
    data = (sft_config.artefact_dir / "curve.tfevents").read_bytes()
    found: dict[str, list[tuple[int, float]]] = {}
    while data:  # TFRecord: length (8), its checksum (4), record, its checksum (4)
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert found["train/loss"] == [(line["step"], pytest.approx(line["loss"])) for line in lines]
    assert set(found) == {"train/loss", "train/learning_rate", "train/epoch", "train/tokens"}


def dpo_trainer(config: TrainConfig) -> tuple[SharedPrefixDPOTrainer, Any]:
    tokenizer = load_tokenizer(config)
    model = load_policy(config, longest=64, bf16=False)
    return SharedPrefixDPOTrainer(
        config, model, tokenizer, to_dataset(encode_rows(config, tokenizer)[0]), bf16=False
    ), model


def test_noted_reference_equals_a_frozen_reference_adapter(dpo_config: TrainConfig) -> None:
    """TRL's way is a second adapter copied from the SFT adapter; ours are its numbers, taken beforehand."""
    dpo_config.out_dir.mkdir()
    trainer, model = dpo_trainer(dpo_config)
    model.load_adapter(str(dpo_config.parent_adapter), adapter_name="ref")
    trainer.train()
    rows: Any = trainer.train_dataset
    batch = trainer.collate([rows[index] for index in range(12)])
    with torch.no_grad():
        policy = sequence_logps(token_logps(model, batch, bf16=False), batch["owners"], 24)
        model.set_adapter("ref")
        frozen = sequence_logps(token_logps(model, batch, bf16=False), batch["owners"], 24)
    torch.testing.assert_close(batch["reference"], frozen, atol=1e-3, rtol=1e-4)
    assert (policy - frozen).abs().max() > 0.1


def test_the_reloaded_adapter_gives_the_same_logits(sft_config: TrainConfig) -> None:
    tokenizer = load_tokenizer(sft_config)
    sft_config.out_dir.mkdir()
    model = load_policy(sft_config, longest=64, bf16=False)
    rows = encode_rows(sft_config, tokenizer)[0]
    SharedPrefixSFTTrainer(sft_config, model, tokenizer, to_dataset(rows), bf16=False).train()
    model.save_pretrained(sft_config.artefact_dir)
    child = sft_config.model_copy(update={"parent_adapter": sft_config.artefact_dir})
    again = load_policy(child, longest=64, bf16=False)
    ids = torch.tensor([rows[0].prompt])
    with torch.no_grad():
        base = again.get_base_model()
        torch.testing.assert_close(model(input_ids=ids).logits, again(input_ids=ids).logits)
        with again.disable_adapter():
            assert not torch.allclose(base(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-2)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_accumulation_equals_the_larger_batch(
    sft_config: TrainConfig, dpo_config: TrainConfig, tmp_path: Path, method: str
) -> None:
    whole = (sft_config if method == "sft" else dpo_config).model_copy(update={"max_steps": 1, "schedule": "constant"})
    halves = whole.model_copy(update={"batch_size": 2, "gradient_accumulation": 2, "out_dir": tmp_path / "halves"})
    # One optimizer step over the same four rows in both: the data has no others.
    for config in (whole, halves):
        config.data.write_text("".join(config.data.read_text().splitlines(keepends=True)[:4]))
    big, small = run(whole), run(halves)
    assert big[0]["loss"] == pytest.approx(small[0]["loss"], rel=1e-4)
    first, second = weights(whole.artefact_dir), weights(halves.artefact_dir)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_resumed_run_ends_where_a_whole_one_does(
    sft_config: TrainConfig, dpo_config: TrainConfig, tmp_path: Path, method: str
) -> None:
    whole = (sft_config if method == "sft" else dpo_config).model_copy(update={"save_steps": 4})
    lines = run(whole)
    cut = whole.model_copy(update={"out_dir": tmp_path / "cut"})
    cut.out_dir.mkdir()
    (whole.out_dir / "checkpoint-8").rename(cut.out_dir / "checkpoint-8")
    (cut.out_dir / "checkpoint-9").mkdir()
    cut.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines[:9]))
    resumed = run(cut)
    assert [line["step"] for line in resumed] == list(range(1, 11))
    assert [line["tokens"] for line in resumed] == [line["tokens"] for line in lines]
    assert resumed[-1]["loss"] == pytest.approx(lines[-1]["loss"], rel=1e-5)
    first, second = weights(whole.artefact_dir), weights(cut.artefact_dir)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("began", [False, True])
def test_a_resumed_run_computes_in_the_type_it_began_with(
    sft_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, began: bool
) -> None:
    """Another machine may be better at the other type: going on in it bent the curve by 14 %."""
    config = sft_config.model_copy(update={"bf16": None, "save_steps": 4})
    monkeypatch.setattr(devices, "use_bf16", lambda _: began)
    run(config)
    monkeypatch.setattr(devices, "use_bf16", lambda _: not began)
    assert devices.choose_precision(config) is began
    run(config)
    assert json.loads((config.artefact_dir / "train.json").read_text())["bf16"] is began


def test_only_sealed_checkpoints_count(tmp_path: Path) -> None:
    for step in (2, 10, 12):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter.bin").write_bytes(b"12345")
        if step != 12:
            seal(folder)
    assert newest_sealed(tmp_path) == (tmp_path / "checkpoint-10", 10)
    assert not (tmp_path / "checkpoint-12").exists()
    (tmp_path / "checkpoint-10" / "adapter.bin").write_bytes(b"123")
    assert newest_sealed(tmp_path) == (tmp_path / "checkpoint-2", 2)
    (tmp_path / "checkpoint-2" / SEAL_FILE).unlink()
    assert newest_sealed(tmp_path) is None


def test_a_broken_loss_stops_the_run(sft_config: TrainConfig) -> None:
    with pytest.raises(TrainingStop, match="learning_rate") as caught:
        run(sft_config.model_copy(update={"learning_rate": 1e30}))
    assert caught.value.code is ExitCode.NAN_LOSS


def test_full_training_leaves_whole_weights(sft_config: TrainConfig) -> None:
    from transformers import AutoModelForCausalLM

    lines = run(sft_config.model_copy(update={"mode": "full", "learning_rate": 5e-3}))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert AutoModelForCausalLM.from_pretrained(sft_config.artefact_dir).dtype == torch.bfloat16
