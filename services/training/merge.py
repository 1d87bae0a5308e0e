"""Merging an adapter into its base: what is checked before any weights are read. Imports no torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import InvalidInputError, SenseError
from shared.models.fingerprint import base_fingerprint
from shared.processes.lifecycle import without_secrets

ADAPTER = "adapter_config.json"


class Trained(NamedTuple):
    """An adapter's folder and what its training told."""

    folder: Path
    base: str
    fingerprint: str | None


def read_trained(folder: Path) -> Trained:
    """An artefact folder. Raises `InvalidInputError` for anything but an adapter that training left."""
    if not (folder / ADAPTER).is_file():
        what = "a whole model already" if (folder / "config.json").is_file() else "no trained model"
        raise InvalidInputError(f"{folder} is {what}: it holds no {ADAPTER}, so there is nothing to merge")
    try:
        facts: dict[str, Any] = json.loads((folder / "train.json").read_text())
        return Trained(folder, str(facts["config"]["base_name"]), facts.get("base_fingerprint"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{folder} holds no readable train.json: it was not trained by sense") from error


def check_base(trained: Trained, base: Path, name: str) -> None:
    """Raises `InvalidInputError` where the adapter was trained on another base: its sum would be nonsense."""
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


def merge(trained: Trained, base: Path, name: str, out: Path) -> Path:
    """Writes the merged model (bfloat16 safetensors, tokenizer, chat template, card, manifest) into a new folder `out`.

    Half a model never stands under that name. Raises `InvalidInputError` for a wrong base or a folder that is in use.
    """
    check_base(trained, base, name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"{out} exists and is not empty: choose a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "services.training.run.merge", str(trained.folder), str(base), str(out), name]
    environment = {**without_secrets(os.environ), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SenseError(f"the merge failed (exit {done.returncode}): {last}")
    return out
