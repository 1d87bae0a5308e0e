"""A whole embedded stack for tests: started and stopped by `sense`, in a state folder and on ports of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pydantic import BaseModel, SecretStr

from services.cli.stack.config import DEFAULT_PORTS, StackFile, read_stack
from services.cli.stack.manager import program_states, supervisor_pid
from shared.api.resources import Job
from shared.client.client import SenseClient
from shared.contracts.records import Example
from shared.jobs.store import JobStore
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from tests.support.s3_server import free_ports

REPO = Path(__file__).parents[2]
SENSE = Path(sys.executable).parent / "sense"
MODELS = Path(os.environ.get("SENSE_MODELS", REPO / ".sense" / "models")).absolute()
START_S, STOP_S, COMMAND_S = 120, 90, 120
GONE_S = 15.0
POLL_S = 0.2
M = TypeVar("M", bound=BaseModel)


def stack_environment(state: Path, **more: str) -> dict[str, str]:
    """What a `sense` of its own is told: its state folder, four free ports, the converted small model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SENSE_", "OPENAI_"))}
    ports = {
        f"SENSE_PORT_{name.upper()}": str(port)
        for name, port in zip(DEFAULT_PORTS, free_ports(len(DEFAULT_PORTS)), strict=True)
    }
    return {**kept, **ports, "SENSE_STATE": str(state), "SENSE_MODELS": str(MODELS), **more}


def run_sense(env: Mapping[str, str], *words: object, limit_s: float = COMMAND_S) -> "subprocess.CompletedProcess[str]":
    """One `sense` command, run to its end."""
    command = [str(SENSE), *map(str, words)]
    return subprocess.run(command, env=dict(env), capture_output=True, text=True, timeout=limit_s, check=False)


def state_processes(state: Path) -> list[str]:
    """Every process that was started for this state folder, whatever its parent is now."""
    found = []
    mark = f"SENSE_STATE={state}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if mark in words and command:
            found.append(f"{folder.name} {command}")
    return found


def wait_gone(state: Path, family: set[psutil.Process] | None = None) -> list[str]:
    """What is left of a stack after `GONE_S`; sandbox children carry no environment, so its family is asked too."""
    ends = time.monotonic() + GONE_S
    while True:
        living = [f"{one.pid} (of the family)" for one in family or () if alive(one)]
        left = state_processes(state) + living
        if not left or time.monotonic() > ends:
            return left
        time.sleep(POLL_S)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie of another parent does not."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], what: str, *, limit_s: float, poll_s: float = POLL_S) -> None:
    """Waits. Raises `AssertionError` that says what did not come."""
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, f"{what} did not come within {limit_s:.0f} s"
        time.sleep(poll_s)


@dataclass
class Stack:
    """A running stack: its description, the environment that finds it, and its stores."""

    file: StackFile
    env: dict[str, str]
    family: set[psutil.Process] = field(default_factory=set)

    @property
    def state(self) -> Path:
        return self.file.state

    @cached_property
    def client(self) -> SenseClient:
        return SenseClient(self.file.gateway_url)

    @cached_property
    def jobs(self) -> JobStore:
        settings = RedisSettings(url=SecretStr(self.file.redis_url))
        return JobStore(connect_redis(settings), settings.prefix)

    @cached_property
    def objects(self) -> DirectoryStore:
        return DirectoryStore(self.state / "objects")

    def sense(self, *words: object, limit_s: float = COMMAND_S) -> "subprocess.CompletedProcess[str]":
        """A `sense` command that finds this stack."""
        return run_sense(self.env, *words, limit_s=limit_s)

    def pid(self, program: str) -> int:
        """The pid of one supervised program."""
        return next(one.pid for one in program_states(self.file) if one.name == program)

    def remember(self) -> None:
        """Adds everything below supervisord to the family that must be gone at the end."""
        if (pid := supervisor_pid(self.state)) is not None:
            self.family |= {psutil.Process(pid), *psutil.Process(pid).children(recursive=True)}

    def wait(self, job_id: str, *, limit_s: float) -> Job:
        """The job as it ended. Raises `AssertionError` with its stages where it does not end."""
        ends = time.monotonic() + limit_s
        while not (job := self.client.job(job_id)).terminal:
            running = [(one.id, one.status, one.done, one.total) for one in job.stages if one.status != "waiting"]
            assert time.monotonic() < ends, f"job {job_id} still {job.status} after {limit_s:.0f} s: {running}"
            time.sleep(POLL_S)
        return job

    def succeed(self, spec: Mapping[str, Any], *, limit_s: float) -> Job:
        """Submits a job and waits until it has succeeded."""
        job = self.wait(self.client.submit(spec).id, limit_s=limit_s)
        assert job.status == "succeeded", job.error
        return job

    def export(self, job_id: str, stage: str, name: str) -> bytes:
        """A file under a stage's `export/`."""
        return self.objects.get(f"jobs/{job_id}/{stage}/export/{name}")

    def outputs(self, job_id: str, stage: str, output: str, model: type[M]) -> list[M]:
        """Rows of one output of a stage's finished shards, in shard order."""
        refs = self.jobs.outputs(job_id, stage, output)
        return [model.model_validate_json(line) for ref in refs for line in self.objects.get(ref.key).splitlines()]


@contextmanager
def running_stack(state: Path, **more: str) -> Iterator[Stack]:
    """`sense up` and, at the end, `sense down`, after which no process of it may be left."""
    env = stack_environment(state, **more)
    started = run_sense(env, "up", limit_s=START_S)
    assert started.returncode == 0, started.stdout + started.stderr
    file = read_stack(state)
    assert file is not None
    stack = Stack(file, env)
    try:
        yield stack
    finally:
        stack.remember()
        stopped = run_sense(env, "down", limit_s=STOP_S)
        left = wait_gone(state, stack.family)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert left == []
    assert read_stack(state) is None


class Golds(Mapping[str, str]):
    """Gold SQL by question, from what a stack has verified: a weak model of the tests must know what it spoils."""

    def __init__(self, objects: Path) -> None:
        self.objects = objects
        self.found: dict[str, str] = {}

    def __getitem__(self, question: str) -> str:
        if question not in self.found:
            self._read()
        return self.found[question]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def _read(self) -> None:
        for path in sorted(self.objects.glob("jobs/*/verify.*/*.examples.jsonl")):
            for line in path.read_text().splitlines():
                example = Example.model_validate_json(line)
                self.found.setdefault(example.question, example.gold)


def json_lines(data: bytes) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in data.splitlines()]
