"""`python -m services.training.run.merge ADAPTER BASE OUT NAME`: base and adapter as one model in a new folder."""

import hashlib
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

# What an adapter's folder hands on: how prompts are rendered, what the model is, how it was made.
KEPT = ("README.md", "train.json", "metrics.jsonl")


def merge(adapter: Path, base: Path, out: Path, name: str) -> None:
    """Adds in float32, saves in bfloat16; the folder gets its name when all of it is there."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        merged: Any = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
        merged.to(torch.bfloat16).save_pretrained(work)
        AutoTokenizer.from_pretrained(adapter).save_pretrained(work)
        for kept in KEPT:
            if (adapter / kept).exists():
                shutil.copy(adapter / kept, work / kept)
        write_manifest(adapter, work, name)
        for path in work.iterdir():
            path.chmod(0o644)
        work.chmod(0o755)
        work.replace(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_manifest(adapter: Path, folder: Path, base: str) -> None:
    """What was added to what, and every file's hash."""
    weights = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    facts = {"base": base, "adapter_sha256": weights, "mode": "full", "dtype": "bfloat16", "files": files}
    text = json.dumps({**facts, "code_version": version("sense-sql")}, indent=1, sort_keys=True)
    (folder / "manifest.json").write_text(text + "\n")


if __name__ == "__main__":
    first, second, third, fourth = sys.argv[1:]
    merge(Path(first), Path(second), Path(third), fourth)
