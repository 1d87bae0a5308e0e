"""Starts, watches and stops the embedded stack through supervisord."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from services.cli.stack.layout import StackFile, plan_stack, read_stack, stack_path, write_stack
from services.cli.stack.programs import STOP_WAIT_S, redis_config, supervisor_config
from services.cli.stack.readiness import unready
from shared.errors import SenseError, UnavailableError
from shared.lifeline import STACK_MARK, left_pids

START_LIMIT_S = 60.0
STOP_LIMIT_S = 45.0
PID_WAIT_S = 5.0
FREE_BYTES = 500_000_000
FOLDERS = ("logs", "redis", "objects", "engine", "cache", "work")


class StackError(SenseError):
    """The stack cannot be started or stopped; the message says which part and where its log is."""

    code = "stack"


def supervisor_pid(state: Path) -> int | None:
    """The pid of this state folder's supervisord, if it lives."""
    try:
        pid = int((state / "supervisord.pid").read_text())
        command = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if any("supervisor" in part for part in command) else None


def running_stack(state: Path) -> StackFile | None:
    """The stack, where its supervisord lives."""
    stack = read_stack(state)
    return stack if stack is not None and supervisor_pid(state) is not None else None


@dataclass(frozen=True, slots=True)
class ProgramState:
    """One supervised process as supervisord sees it."""

    name: str
    state: str
    pid: int
    uptime: str


def supervisor_calls(stack: StackFile) -> Any:
    """supervisord's own interface, over its socket."""
    transport = SupervisorTransport(None, None, f"unix://{stack.socket}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def program_states(stack: StackFile) -> list[ProgramState]:
    """All processes of a running stack. Raises `StackError` where supervisord does not answer."""
    try:
        told = supervisor_calls(stack).getAllProcessInfo()
    except (OSError, Fault) as error:
        raise StackError(f"supervisord does not answer on {stack.socket} ({error}); try: sense down") from error
    return [
        ProgramState(one["name"], one["statename"], one["pid"], one["description"].partition("uptime ")[2])
        for one in told
    ]


def free_space(state: Path) -> int:
    """Bytes that are free where the state folder lies."""
    return shutil.disk_usage(state).free


def check_space(state: Path) -> None:
    """Refuses to start on a full disk, before anything is written."""
    state.mkdir(parents=True, exist_ok=True)
    free = free_space(state)
    if free < FREE_BYTES:
        needed = FREE_BYTES // 1_000_000
        raise UnavailableError(
            f"only {free // 1_000_000} MB are free under {state}; the stack needs {needed} MB: free some"
        )


def start_stack(state: Path, tell: Callable[[str], None]) -> StackFile:
    """Starts everything and waits until it answers; half a start is taken back. Raises `StackError`."""
    check_space(state)
    try:
        with undisturbed():
            stack = prepare_stack(state)
        start_supervisor(stack)
        wait_ready(stack, tell)
    except BaseException:
        stop_stack(state)
        raise
    return stack


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the block's end: some libraries turn it into errors of their own in the middle of a call."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def prepare_stack(state: Path) -> StackFile:
    """Folders, ports and configuration of a new stack; its own file comes last."""
    for folder in FOLDERS:
        (state / folder).mkdir(exist_ok=True)
    stack = plan_stack(state)
    (state / "redis.conf").touch(mode=0o600)
    (state / "redis.conf").write_text(redis_config(stack))
    (state / "supervisord.conf").write_text(supervisor_config(stack))
    write_stack(stack)
    return stack


def start_supervisor(stack: StackFile) -> None:
    """Starts supervisord, away from the terminal's Ctrl-C, until it can be stopped again. Raises `StackError`."""
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(stack.state / "supervisord.conf")]
    with subprocess.Popen(
        command,
        env={**os.environ, **stack.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate()
        finally:
            # its first process ends when it is a daemon, a moment before its pid is written
            deadline = time.monotonic() + PID_WAIT_S
            while process.wait() == 0 and supervisor_pid(stack.state) is None and time.monotonic() < deadline:
                time.sleep(0.02)
    if process.returncode != 0:
        raise StackError(f"supervisord did not start: {said.strip()}")


def wait_ready(stack: StackFile, tell: Callable[[str], None]) -> None:
    """Waits for every part. Raises `StackError` naming those that do not answer and the end of a log."""
    deadline = time.monotonic() + START_LIMIT_S
    missing = unready(stack)
    while missing:
        if time.monotonic() > deadline:
            name = missing[0]
            raise StackError(
                f"{', '.join(missing)} did not start in {START_LIMIT_S:.0f} s; last lines:\n{tail(stack, name)}"
            )
        tell(f"waiting for {', '.join(missing)}")
        time.sleep(0.2)
        missing = unready(stack)


def tail(stack: StackFile, name: str, lines: int = 8) -> str:
    """The end of a program's log, or where it would be."""
    path = stack.state / "logs" / f"{name}.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else f"no log at {path}"


def stop_programs(stack: StackFile) -> None:
    """Redis last, the others at once before it: they hand back to Redis.

    supervisord's own shutdown goes from program to program, a second for each: nothing may be left to it.
    """
    names = {program.name for program in program_states(stack)}
    for round_ in (names - {"redis"}, {"redis"}):
        stop_together(stack, round_)


def stop_together(stack: StackFile, names: set[str]) -> None:
    """Stops these programs and waits until none of them is stopping."""
    calls, deadline = supervisor_calls(stack), time.monotonic() + STOP_WAIT_S + 5
    for program in program_states(stack):
        if program.name in names and program.state in ("RUNNING", "STARTING", "BACKOFF"):
            calls.stopProcess(program.name, False)
    while time.monotonic() < deadline and any(
        one.state == "STOPPING" for one in program_states(stack) if one.name in names
    ):
        time.sleep(0.1)


def family(state: Path) -> list[psutil.Process]:
    """Every process that was started for this state folder, whoever its parent is now; never the caller's own line."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    left, found = set(left_pids(state)), []
    for process in psutil.process_iter():
        try:
            if process.pid in own:
                continue
            if process.pid in left or process.environ().get(STACK_MARK) == str(state):
                found.append(process)
        except psutil.Error:
            continue
    return found


def stop_stack(state: Path) -> bool:
    """Stops all processes, kindly first; False where nothing ran. Nothing is left behind, orphans included."""
    pid = supervisor_pid(state)
    stack = read_stack(state)
    members = family(state)
    if pid is not None:
        with suppress(OSError, Fault, StackError):  # a supervisord that does not answer is ended all the same
            if stack is not None:
                stop_programs(stack)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        psutil.wait_procs(members, timeout=STOP_LIMIT_S)
    alive = family(state)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
    stack_path(state).unlink(missing_ok=True)
    if stack is not None:
        stack.socket.unlink(missing_ok=True)
    return pid is not None or bool(members)
