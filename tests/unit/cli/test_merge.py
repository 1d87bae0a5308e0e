"""`sense merge`: the sum answers like base and adapter together, and a wrong base is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from tests.unit.training.conftest import sft_artefact, tiny_base

__all__ = ["sft_artefact", "tiny_base"]
SENSE = Path(sys.executable).parent / "sense"


def merge(folder: Path, base: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(SENSE), "merge", str(folder), "--out", str(out), "--base", str(base)]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent, check=False)


def logits(model: object) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits  # type: ignore[operator, no-any-return]


def test_the_merged_model_answers_like_base_and_adapter(tiny_base: Path, sft_artefact: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = merge(sft_artefact, tiny_base, tmp_path / "merged")
    assert done.returncode == 0, done.stderr
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    alone = logits(base)
    together = logits(PeftModel.from_pretrained(base, str(sft_artefact)))
    torch.testing.assert_close(logits(merged.float()), together, atol=0.15, rtol=0.05)
    assert (alone - together).abs().max() > 0.5
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(sft_artefact).chat_template
    manifest = json.loads((tmp_path / "merged/manifest.json").read_text())
    assert set(manifest["files"]) >= {"model.safetensors", "config.json", "tokenizer.json", "README.md", "train.json"}
    again = merge(sft_artefact, tiny_base, tmp_path / "merged")
    assert again.returncode == 2 and "not empty" in again.stderr
    whole = merge(tmp_path / "merged", tiny_base, tmp_path / "twice")
    assert whole.returncode == 2 and "a whole model already" in whole.stderr


def test_another_base_is_refused_before_anything_is_written(
    tiny_base: Path, sft_artefact: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(tiny_base, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, other / "model.safetensors")
    done = merge(sft_artefact, other, tmp_path / "merged")
    assert done.returncode == 2
    assert "is not the base of this adapter" in done.stderr
    assert not (tmp_path / "merged").exists()


def test_a_folder_of_something_else_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = merge(tmp_path / "empty", tiny_base, tmp_path / "merged")
    assert done.returncode == 2 and "no trained model" in done.stderr
