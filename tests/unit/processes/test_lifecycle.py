"""What other programs of the same user see of our processes: no memory, no environment, but `sense down` their pid."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.serving.embedded.model_process import _child_environment
from shared.processes.lifecycle import STACK_MARK, hide_memory, live_pids, start_time, without_secrets

NOBODY = 65534
PR_SET_DUMPABLE = 4


def as_nobody(act: Callable[[], None]) -> tuple[int, int]:
    """A fork without root that says when it has acted, and lives until its pipe closes: pid and the pipe's end."""
    said, say = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(end)
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as a program that was started by this user
            act()
            os.write(say, b"x")
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(say)
    os.close(wait)
    os.read(said, 1)
    os.close(said)
    return pid, end


def can_read(pid: int) -> bool:
    """Whether another process of that user reads the environment or the memory."""
    reader = os.fork()
    if not reader:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        code = 0
        for name in ("environ", "mem"):
            try:
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
            except PermissionError:
                continue
            code = 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == 1


@pytest.mark.parametrize(("dumpable", "readable"), [("false", False), ("true", True)])
def test_nobody_reads_a_hidden_process(monkeypatch: pytest.MonkeyPatch, dumpable: str, readable: bool) -> None:
    monkeypatch.setenv("SENSE_PROCESS_DUMPABLE", dumpable)
    monkeypatch.delenv(STACK_MARK, raising=False)
    for act, seen in ((hide_memory, readable), (lambda: None, True)):
        pid, end = as_nobody(act)
        try:
            assert can_read(pid) == seen
        finally:
            os.close(end)
            os.waitpid(pid, 0)


HIDING = (
    "from shared.processes.lifecycle import hide_memory; import sys; "
    "hide_memory(); print(1, flush=True); sys.stdin.read()"
)


def test_a_hidden_process_is_found_by_the_pid_it_left_while_it_lives(tmp_path: Path) -> None:
    environment = {**os.environ, STACK_MARK: str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [sys.executable, "-c", HIDING], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        assert live_pids(tmp_path) == [process.pid]
        (tmp_path / "pids" / str(os.getpid())).write_text("of an earlier start of the machine 1")
        assert live_pids(tmp_path) == [process.pid]
    assert live_pids(tmp_path) == []
    assert list((tmp_path / "pids").iterdir()) == []
    assert start_time(os.getpid()) == start_time(os.getpid())


SECRETS = {
    "SENSE_REDIS_URL": "redis://:geheim@127.0.0.1:6390/0",
    "SENSE_STORE_SECRET_KEY": "geheim",
    "SENSE_STORE_ACCESS_KEY": "geheim",
    "SENSE_ADMIN_KEY": "geheim",
    "SENSE_INTERNAL_TOKEN": "geheim",
    "SENSE_ENDPOINT_STRONG_API_KEY": "geheim",
    "OPENAI_API_KEY": "geheim",
    "HF_TOKEN": "geheim",
    "AWS_SECRET_ACCESS_KEY": "geheim",
    "REDIS_PASSWORD": "geheim",
    "HTTPS_PROXY": "http://me:geheim@proxy:3128",
    "PROFILES": '{"base_url": "x", "api_key": "geheim"}',
}
HARMLESS = {
    "PATH": "/bin",
    "TOKENIZERS_PARALLELISM": "false",
    "SENSE_ENGINE_MAX_TOKENS": "1",
    "CUDA_VISIBLE_DEVICES": "0",
    "SENSE_ENGINE_URL": "http://127.0.0.1:8101",
}


def test_children_that_call_nobody_get_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert without_secrets({**SECRETS, **HARMLESS}) == HARMLESS
    assert "geheim" not in str(_child_environment())
