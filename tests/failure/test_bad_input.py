"""What people do wrong, and what machines lack: one clear sentence, the right exit code, nothing left behind."""

import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from services.cli.stack.config import read_stack, stack_path
from tests.support.openai_server import OpenAiServer
from tests.support.s3_server import free_ports
from tests.support.stack import (
    SENSE,
    START_S,
    STOP_S,
    Stack,
    run_sense,
    running_stack,
    stack_environment,
    state_processes,
    wait_gone,
    wait_until,
)
from tests.support.writers import strong_writer

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
SMALL = {"kind": "synthesis", "name": "small", "train": {"sft": [{"synthesis": 8, "per_shard": 4}]}}
BAD_INPUT, UNREACHABLE, INTERRUPTED = 2, 3, 130


@pytest.fixture(scope="module")
def slow() -> Iterator[OpenAiServer]:
    """An endpoint that takes so long that a job can be interrupted in its middle."""
    with OpenAiServer(strong_writer, latency_s=1.0, models=["s"]) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, slow: OpenAiServer) -> Iterator[Stack]:
    """A stack with an endpoint that answers and one whose server is down."""
    with running_stack(
        tmp_path_factory.mktemp("bad") / "state",
        SENSE_LEASE_RETRY_PAUSE_S="0.2",
        SENSE_ENDPOINT_SLOW_BASE_URL=slow.base_url,
        SENSE_ENDPOINT_SLOW_MAX_CONCURRENCY="1",
        SENSE_ENDPOINT_DOWN_BASE_URL=f"http://127.0.0.1:{free_ports(1)[0]}/v1",
    ) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def down_job(stack: Stack) -> str:
    """A job whose weak model's server is down: it is waited for with patience, so it begins before all tests."""
    spec = {**SMALL, "kind": "pairing", "name": "down", "weak": {"endpoint": "down", "model": "w", "samples": 2}}
    spec["train"] = {"sft": [{"synthesis": 4, "per_shard": 4}]}
    return stack.client.submit(spec).id


def write_spec(folder: Path, spec: object, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(spec if isinstance(spec, str) else yaml.safe_dump(spec))
    return path


def paid_by(endpoint: str, model: str = "s") -> dict[str, object]:
    """A small job whose examples an endpoint writes, four seconds of it at least."""
    return {**SMALL, "name": "slow", "strong": {"endpoint": endpoint, "model": model}}


# specs


def test_all_faults_of_a_spec_are_told_at_once_with_their_paths(stack: Stack, tmp_path: Path) -> None:
    spec = {
        "kind": "pairing",
        "seed": -1,
        "colour": "red",
        "train": {"sft": [{"synthesis": 2, "per_shard": 4}]},
        "weak": {"samples": 1, "endpoint": "nobody", "model": "m"},
    }
    ended = stack.sense("submit", write_spec(tmp_path, spec))
    assert ended.returncode == BAD_INPUT
    for path in ("seed", "colour", "train.sft.0.synthesis", "weak.samples", "weak.endpoint"):
        assert f"  {path}: " in ended.stderr, (path, ended.stderr)
    assert "nobody" in ended.stderr and "down" in ended.stderr and "slow" in ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no spec at"),
        ("kind: [pipeline", "is not YAML"),
        ("- kind\n- pipeline\n", "must be a mapping"),
        ("kind: pipelin\n", "pipelin"),
        ("", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_spec(stack: Stack, tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "missing.yaml" if text is None else write_spec(tmp_path, text)
    ended = stack.sense("submit", path)
    assert ended.returncode == BAD_INPUT
    assert said in ended.stderr and "Traceback" not in ended.stderr


def test_a_demo_spec_that_cannot_be_used_starts_nothing(tmp_path: Path) -> None:
    env = stack_environment(tmp_path / "state")
    for path in (
        tmp_path / "missing.yaml",
        write_spec(tmp_path, "kind: [pipeline"),
        write_spec(tmp_path, {"kind": "pipeline", "seed": -1}, "seed.yaml"),
    ):
        ended = run_sense(env, "demo", "--spec", path)
        assert ended.returncode == BAD_INPUT, ended.stderr
        assert "Traceback" not in ended.stderr and ended.stderr.startswith("sense: ")
        check_nothing_left(tmp_path / "state")


def check_nothing_left(state: Path) -> None:
    assert wait_gone(state) == []
    assert read_stack(state) is None


# endpoints


def test_a_model_that_the_endpoint_does_not_know_fails_the_job_by_name(stack: Stack, tmp_path: Path) -> None:
    ended = stack.sense("submit", write_spec(tmp_path, paid_by("slow", "other")), "--watch")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "write.train" in ended.stdout and "endpoint 'slow' does not know model 'other'" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


# databases


def test_a_database_that_is_not_there_or_is_none(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "no.sqlite").write_text("this is text")
    for path, said in ((tmp_path / "missing.sqlite", "no database file"), (tmp_path / "no.sqlite", "not a SQLite")):
        for words in (("execute", "--db", path, "--sql", "SELECT 1"), ("ask", "--db", path, "How many?")):
            ended = stack.sense(*words)
            assert ended.returncode == BAD_INPUT, (words, ended.stderr)
            assert said in ended.stderr and str(path) in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "missing.sqlite").exists()


def test_a_question_without_a_served_model(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE singer (name TEXT)")
    database.close()
    ended = stack.sense("ask", "--db", path, "How many singers are there?")
    assert ended.returncode == BAD_INPUT and "no model is served" in ended.stderr
    named = stack.sense("ask", "--db", path, "--model", "nobody", "How many singers are there?")
    assert named.returncode == BAD_INPUT and "nobody" in named.stderr and "Traceback" not in named.stderr


# starting


def test_no_stack_is_a_sentence(tmp_path: Path) -> None:
    env = stack_environment(tmp_path / "state", SENSE_URL=f"http://127.0.0.1:{free_ports(1)[0]}")
    ended = run_sense(env, "jobs")
    assert ended.returncode == UNREACHABLE and "sense up" in ended.stderr
    assert run_sense(env, "status").returncode == UNREACHABLE
    assert run_sense(env, "down").returncode == 0


@pytest.mark.parametrize("value", ["taken", "none", "70000"])
def test_a_port_that_cannot_be_had_starts_nothing(tmp_path: Path, value: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1]) if value == "taken" else value
        env = stack_environment(tmp_path / "state", SENSE_PORT_GATEWAY=port)
        ended = run_sense(env, "up", limit_s=START_S)
    assert ended.returncode == BAD_INPUT, ended.stderr
    assert port in ended.stderr and "SENSE_PORT_GATEWAY" in ended.stderr and "Traceback" not in ended.stderr
    check_nothing_left(tmp_path / "state")


@contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size; skips where mounting is not permitted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_starts_nothing(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "32m") as disk:
        env = stack_environment(disk / "state")
        ended = run_sense(env, "up", limit_s=START_S)
        assert ended.returncode == UNREACHABLE, ended.stderr
        assert str(disk / "state") in ended.stderr and "MB" in ended.stderr and "Traceback" not in ended.stderr
        check_nothing_left(disk / "state")


def test_a_disk_that_fills_up_is_told_and_work_goes_on_with_space(tmp_path: Path) -> None:
    """A full disk takes no writes: new jobs are refused with the reason, and what was accepted waits for space."""
    with tiny_disk(tmp_path / "disk", "640m") as disk, running_stack(disk / "state") as stack:
        spec = write_spec(tmp_path, SMALL)
        ballast = disk / "ballast"
        fill(ballast)
        accepted: list[str] = []
        ended = stack.sense("submit", spec, "--json")

        def refused() -> bool:
            nonlocal ended
            if ended.returncode == 0:
                accepted.append(json.loads(ended.stdout)["id"])
                ended = stack.sense("submit", spec, "--json")
            return ended.returncode != 0

        wait_until(refused, "the refusal of a job on a full disk", limit_s=60)
        assert ended.returncode == UNREACHABLE and "disk" in ended.stderr and "Traceback" not in ended.stderr
        assert f"MB are free under {disk / 'state'}" in stack.sense("status").stdout
        ballast.unlink()
        assert [stack.wait(job_id, limit_s=60).status for job_id in accepted] == ["succeeded"] * len(accepted)
        # the server tries its log again once a second, and takes writes from then on
        wait_until(lambda: stack.sense("submit", spec).returncode == 0, "a job taken again", limit_s=60)
        stack.succeed(SMALL, limit_s=60)
        assert "MB are free" not in stack.sense("status").stdout


def fill(path: Path) -> None:
    """Writes until the file system is full."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


# Ctrl-C


class Foreground:
    """A command in a process group of its own, as a terminal would run it; its output goes to a file."""

    def __init__(self, env: Mapping[str, str], log: Path, *words: object) -> None:
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [str(SENSE), *map(str, words)],
                env={**env, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, *, limit_s: float) -> None:
        def said() -> bool:
            assert self.process.poll() is None or words in self.text(), self.text()
            return words in self.text()

        wait_until(said, f"{words!r} from the command", limit_s=limit_s)

    def interrupt(self, *, limit_s: float) -> int:
        """Ctrl-C goes to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(limit_s)


def test_a_watcher_that_is_interrupted_leaves_its_job_running(stack: Stack, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, paid_by("slow"))
    command = Foreground(stack.env, tmp_path / "log", "submit", spec, "--watch")
    command.wait_for("write.train: running", limit_s=60)
    assert command.interrupt(limit_s=30) == INTERRUPTED
    assert "goes on" in command.text() and "sense cancel" in command.text() and "Traceback" not in command.text()
    newest = next(iter(stack.client.jobs(limit=1)))
    assert newest.status == "running" and newest.id in command.text()
    assert stack.wait(newest.id, limit_s=120).status == "succeeded"


def test_an_interrupted_demo_cancels_its_job_and_stops_its_stack(
    stack: Stack, slow: OpenAiServer, tmp_path: Path
) -> None:
    """Beside another stack; and the next stack in that folder knows the job, works, and is a world of its own."""
    state = tmp_path / "state"
    env = stack_environment(state, SENSE_ENDPOINT_SLOW_BASE_URL=slow.base_url, SENSE_ENDPOINT_SLOW_MAX_CONCURRENCY="1")
    spec = {**paid_by("slow"), "kind": "pipeline", "name": "interrupted"}
    command = Foreground(env, tmp_path / "log", "demo", "--spec", write_spec(tmp_path, spec))
    command.wait_for("write.train: running", limit_s=START_S)
    assert command.interrupt(limit_s=STOP_S) == INTERRUPTED, command.text()
    assert "cancelled" in command.text() and "Traceback" not in command.text()
    check_nothing_left(state)
    up = run_sense(env, "up", limit_s=START_S)
    assert up.returncode == 0, up.stdout + up.stderr
    file = read_stack(state)
    assert file is not None
    second = Stack(file, env)
    try:
        cancelled = next(iter(second.client.jobs()))
        assert (cancelled.name, second.wait(cancelled.id, limit_s=60).status) == ("interrupted", "cancelled")
        here, there = (one.succeed(SMALL, limit_s=120).id for one in (second, stack))
        assert here not in {job.id for job in stack.client.jobs()}
        assert there not in {job.id for job in second.client.jobs()}
        second.remember()
        second.file.socket.unlink()  # as a cleaner of /tmp would: supervisord cannot be asked any more
    finally:
        with subprocess.Popen(["sleep", "600"], env=env) as bystander:
            down = run_sense(env, "down", limit_s=STOP_S)
            assert bystander.poll() is None, "a process that merely has SENSE_STATE set was ended"
            bystander.kill()
    assert down.returncode == 0, down.stderr
    assert wait_gone(state, second.family) == []
    assert state_processes(stack.state)


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupted_start_leaves_nothing(tmp_path: Path, begun: bool) -> None:
    """At once when its file is there, before supervisord is a daemon; and in the middle of its programs' start."""
    state = tmp_path / "state"
    env = stack_environment(state)
    command = Foreground(env, tmp_path / "log", "up")
    if begun:
        wait_until(lambda: len(state_processes(state)) > 4, "the first programs", limit_s=START_S)
    else:
        wait_until(stack_path(state).exists, "the stack's file", limit_s=START_S, poll_s=0.001)
    assert command.interrupt(limit_s=STOP_S) == INTERRUPTED, command.text()
    assert "Traceback" not in command.text()
    check_nothing_left(state)


def test_an_endpoint_that_is_down_fails_the_job_by_name(stack: Stack, down_job: str) -> None:
    """The last test: patience with an endpoint takes up to a minute."""
    assert stack.wait(down_job, limit_s=180).status == "failed"
    ended = stack.sense("job", down_job, "--watch")
    assert ended.returncode == 1
    assert "stage sample lost shard 0 after 3 attempt(s): endpoint 'down' cannot be reached" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
