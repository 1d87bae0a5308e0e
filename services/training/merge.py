"""Merging an adapter into its base: what is checked before any weights are read. Imports no torch."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import InvalidInputError, SenseError
from shared.models.bases import base_fingerprint
from shared.processes.lifecycle import without_secrets

ADAPTER_CONFIG = "adapter_config.json"
# Copied from the adapter's folder: the card, how it was trained, and its curve.
COPIED_FILES = ("README.md", "train.json", "metrics.jsonl")


class TrainedAdapter(NamedTuple):
    folder: Path
    base: str
    fingerprint: str | None


def read_trained_adapter(folder: Path) -> TrainedAdapter:
    """Raises `InvalidInputError` for anything but the artefact folder of an adapter that Sense has trained."""
    if not (folder / ADAPTER_CONFIG).is_file():
        what = "a whole model already" if (folder / "config.json").is_file() else "no trained model"
        raise InvalidInputError(f"{folder} is {what}: it holds no {ADAPTER_CONFIG}, so there is nothing to merge")
    try:
        facts: dict[str, Any] = json.loads((folder / "train.json").read_text())
        return TrainedAdapter(folder, str(facts["config"]["base_name"]), facts.get("base_fingerprint"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{folder} holds no readable train.json: it was not trained by sense") from error


def check_base(trained: TrainedAdapter, base: Path, name: str) -> None:
    """Raises `InvalidInputError` if the adapter was trained on another base: the sum would be meaningless."""
    if trained.fingerprint is None:
        if name != trained.base:
            raise InvalidInputError(
                f"the adapter was trained on {trained.base} and kept no fingerprint: name that base, not {name}"
            )
    elif (found := base_fingerprint(base)) != trained.fingerprint:
        raise InvalidInputError(
            f"{name} is not the base of this adapter: it was trained on {trained.base} with the fingerprint "
            f"{trained.fingerprint[:12]}, and {name} has {found[:12]}"
        )


def merge_adapter(trained: TrainedAdapter, base: Path, name: str, out: Path) -> Path:
    """Writes the merged model (bfloat16 safetensors, tokenizer, chat template, card, manifest) to the new folder `out`.

    `out` appears only when it is complete. Raises `InvalidInputError` for a wrong base or a folder that is not empty.
    """
    check_base(trained, base, name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"{out} exists and is not empty: choose a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "services.training.merge", str(trained.folder), str(base), str(out), name]
    environment = {**without_secrets(os.environ), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SenseError(f"the merge failed (exit {done.returncode}): {last}")
    return out


def write_merged(adapter: Path, base: Path, out: Path, name: str) -> None:
    """Merges in float32, saves in bfloat16, and renames the finished folder to `out`. Runs in a process of its own."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # beside `out`, so that the rename stays on one file system
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        # safe_merge refuses weights that are not finite
        merged: Any = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
        merged.to(torch.bfloat16).save_pretrained(work)
        AutoTokenizer.from_pretrained(adapter).save_pretrained(work)
        for kept in COPIED_FILES:
            if (adapter / kept).exists():
                shutil.copy(adapter / kept, work / kept)
        write_merge_manifest(adapter, work, name)
        for path in work.iterdir():
            path.chmod(0o644)
        # mkdtemp makes folders for their owner only
        work.chmod(0o755)
        work.replace(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_merge_manifest(adapter: Path, folder: Path, base: str) -> None:
    weights = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    facts = {"base": base, "adapter_sha256": weights, "mode": "full", "dtype": "bfloat16", "files": files}
    text = json.dumps({**facts, "code_version": version("sense-sql")}, indent=1, sort_keys=True)
    (folder / "manifest.json").write_text(text + "\n")


if __name__ == "__main__":
    adapter_dir, base_dir, out_dir, base_name = sys.argv[1:]
    write_merged(Path(adapter_dir), Path(base_dir), Path(out_dir), base_name)
