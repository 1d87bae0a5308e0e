"""Checkpoints: sealed after they are written, trusted only when sealed."""

import json
import os
import shutil
from pathlib import Path

MARKER = "COMPLETED"


def seal(folder: Path) -> None:
    """Syncs every file of `folder`, then writes the marker with their sizes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    for path in files:
        _sync(path)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    (folder / MARKER).write_text(json.dumps(sizes) + "\n")
    _sync(folder / MARKER)
    _sync(folder)


def is_sealed(folder: Path) -> bool:
    """Whether the marker is there and every file it names has its size."""
    try:
        sizes: dict[str, int] = json.loads((folder / MARKER).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def sealed_steps(out_dir: Path) -> list[int]:
    """Steps of the sealed checkpoints below a run's folder, ascending; touches nothing."""
    folders = {folder.name.removeprefix("checkpoint-"): folder for folder in out_dir.glob("checkpoint-*")}
    return sorted(int(step) for step, folder in folders.items() if step.isdigit() and is_sealed(folder))


def lines_up_to(path: Path, step: int) -> list[str]:
    """The curve's whole lines up to a step; empty where there is no file."""
    if step == 0 or not path.exists():
        return []
    lines = [f"{line}\n" for line in path.read_bytes().decode().split("\n")[:-1]]
    return [line for line in lines if json.loads(line)["step"] <= step]


def newest_sealed(out_dir: Path) -> tuple[Path, int] | None:
    """The checkpoint to resume from, with its step; unsealed ones are removed so that nothing else finds them."""
    found: list[tuple[int, Path]] = []
    for folder in out_dir.glob("checkpoint-*"):
        step = folder.name.removeprefix("checkpoint-")
        if step.isdigit() and is_sealed(folder):
            found.append((int(step), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if not found:
        return None
    step_number, newest = max(found)
    return newest, step_number


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
