"""Starts, watches and stops the embedded stack through supervisord."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
import redis
from pydantic import SecretStr
from supervisor.xmlrpc import SupervisorTransport

from services.cli.stack.config import (
    STOP_WAIT_S,
    StackFile,
    plan_stack,
    read_stack,
    redis_config,
    stack_path,
    supervisor_config,
    write_private,
    write_stack,
)
from services.cli.terminal import stack_at
from shared.errors import SenseError, UnavailableError
from shared.jobs.workers import WorkerRegistry
from shared.processes.lifecycle import STACK_MARK, live_pids
from shared.redis import connect_redis
from shared.settings import RedisSettings

READY_S = 1.0  # for one answer of a part
STALL_S = 60.0  # a start is given up when no missing part shows signs of life for this long
MOVED_CPU_S, MOVED_BYTES = 0.5, 1_000_000  # what a starting process uses and reads in that time, at least
MAX_ENDS = 5  # of one program in one start, once Redis answers
STOP_LIMIT_S = 45.0
PID_WAIT_S = 5.0
FREE_BYTES = 500_000_000
FOLDERS = ("logs", "redis", "objects", "engine", "cache", "work")


class StackError(SenseError):
    """The stack cannot be started or stopped; the message names the part and its log."""

    code = "stack"


def supervisor_pid(state: Path) -> int | None:
    """The pid of this folder's supervisord; None if it is dead, even where another process has taken its number."""
    try:
        pid = int((state / "supervisord.pid").read_text())
        command = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if str(state / "supervisord.conf") in command else None


def running_stack(state: Path) -> StackFile | None:
    stack = read_stack(state)
    return stack if stack is not None and supervisor_pid(state) is not None else None


@dataclass(frozen=True, slots=True)
class ProgramState:
    name: str
    state: str
    pid: int
    uptime: str


def supervisor_calls(stack: StackFile) -> Any:
    transport = SupervisorTransport(None, None, f"unix://{stack.socket}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def program_states(stack: StackFile) -> list[ProgramState]:
    """All processes of a running stack. Raises `StackError` if supervisord does not answer."""
    try:
        listed = supervisor_calls(stack).getAllProcessInfo()
    except (OSError, Fault) as error:
        raise StackError(f"supervisord does not answer on {stack.socket} ({error}); try: sense down") from error
    return [
        ProgramState(one["name"], one["statename"], one["pid"], one["description"].partition("uptime ")[2])
        for one in listed
    ]


def free_space(state: Path) -> int:
    return shutil.disk_usage(state).free


def check_space(state: Path) -> None:
    free = free_space(state)
    if free < FREE_BYTES:
        needed = FREE_BYTES // 1_000_000
        raise UnavailableError(
            f"only {free // 1_000_000} MB are free under {state}; the stack needs {needed} MB: free some"
        )


def start_stack(state: Path, tell: Callable[[str], None]) -> tuple[StackFile, bool]:
    """Ends what is left of a dead stack, starts everything, and waits until it answers.

    A failed start is undone. The second value is False if another `sense` started the stack first. Raises `StackError`.
    """
    try:
        make_state(state)
        # Before anything else is written.
        check_space(state)
        with alone(state, tell):
            found = running_stack(state)
            return (found, False) if found is not None else (start_alone(state, tell), True)
    except OSError as error:
        said = error.strerror or str(error)
        raise StackError(f"the state folder {state} cannot be used: {said}; mend it, or set SENSE_STATE") from error


def start_alone(state: Path, tell: Callable[[str], None]) -> StackFile:
    if family(state):
        tell("ending what is left of an earlier stack")
        stop_stack(state)
    try:
        with undisturbed():
            stack = prepare_stack(state)
        # Errors quote only the lines that each log gains from here on.
        log_starts = {path.stem: path.stat().st_size for path in (state / "logs").glob("*.log")}
        start_supervisor(stack)
        wait_ready(stack, tell, log_starts)
    except BaseException:
        stop_stack(state)
        raise
    return stack


def make_private(folder: Path) -> None:
    """Creates a folder for its owner only: it holds passwords, logs and data."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(PermissionError):  # it belongs to another user, who lets us write
        folder.chmod(0o700)


def make_state(state: Path) -> None:
    """Creates the state folder; an existing folder that may serve other purposes keeps its mode."""
    if not state.exists() or state.name == ".sense" or (state / "supervisord.conf").exists():
        make_private(state)
    elif not os.access(state, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def alone(state: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Allows one start at a time in a state folder; the kernel releases the lock of a killed `sense`."""
    lock = os.open(state / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another sense starts this stack: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delays Ctrl-C until the end of the block, because some libraries turn an interrupted call into other errors."""
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
    """Writes folders and configuration of a new stack; the file that describes it comes last."""
    for folder in FOLDERS:
        make_private(state / folder)
    stack = plan_stack(state)
    write_private(state / "redis.conf", redis_config(stack))
    write_private(state / "supervisord.conf", supervisor_config(stack))
    write_stack(stack)
    return stack


def start_supervisor(stack: StackFile) -> None:
    """Starts supervisord, out of reach of the terminal's Ctrl-C. Raises `StackError`."""
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(stack.state / "supervisord.conf")]
    with subprocess.Popen(
        command,
        env={**os.environ, **stack.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o077,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate()
        finally:
            # supervisord's first process ends a moment before the daemon writes its pid
            deadline = time.monotonic() + PID_WAIT_S
            while process.wait() == 0 and supervisor_pid(stack.state) is None and time.monotonic() < deadline:
                time.sleep(0.02)
    if process.returncode != 0:
        raise StackError(f"supervisord did not start: {said.strip()}")


@dataclass
class Movement:
    """Signs of life of programs that do not answer yet: a start goes on while one of them shows some.

    A program that still imports uses its processor or reads its files, however slow the machine; one that hangs does
    neither.
    """

    since: float = field(default_factory=time.monotonic)
    used: dict[int, tuple[float, float]] = field(default_factory=dict)  # by pid, when it last counted as moved
    pids: dict[str, set[int]] = field(default_factory=dict)  # by program, in this start

    def look(self, programs: Mapping[str, ProgramState]) -> None:
        for name, program in programs.items():
            if program.pid and program.pid not in self.pids.setdefault(name, set()):
                self.pids[name].add(program.pid)
                self.since = time.monotonic()
            cpu_s, read = usage(program.pid) if program.pid else (0.0, 0.0)
            before = self.used.setdefault(program.pid, (cpu_s, read))
            if cpu_s - before[0] >= MOVED_CPU_S or read - before[1] >= MOVED_BYTES:
                self.used[program.pid] = cpu_s, read
                self.since = time.monotonic()

    @property
    def stalled(self) -> bool:
        return time.monotonic() - self.since > STALL_S

    def forget_ends(self) -> None:
        self.pids.clear()

    def ends(self, name: str) -> int:
        return max(0, len(self.pids.get(name, ())) - 1)


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds and bytes read by a process and its children; processes that cannot be inspected count as nothing."""
    cpu_s, read = 0.0, 0.0
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                cpu_s += times.user + times.system
                read += process.io_counters().read_chars
    return cpu_s, read


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=READY_S) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False


def is_own_gateway(stack: StackFile) -> bool:
    """Whether the gateway at the stack's address belongs to this start; another clone may have taken the port first."""
    return stack_at(stack.gateway_url) == stack.id and answers(f"{stack.gateway_url}/readyz")


def silent_workers(stack: StackFile) -> list[str]:
    """Queues without a living worker; all of them if Redis is down."""
    settings = RedisSettings(url=SecretStr(stack.redis_url))
    try:
        living = WorkerRegistry(connect_redis(settings), settings.prefix).living()
    except (SenseError, redis.RedisError):
        return ["redis"]
    return [f"worker-{queue}" for queue, slots in living.items() if not slots]


def unready(stack: StackFile) -> list[str]:
    missing = silent_workers(stack)
    if not is_own_gateway(stack):
        missing.append("gateway")
    for name, url in (
        ("engine", f"{stack.engine_url}/health"),
        ("sandbox-http", f"{stack.sandbox_url}/readyz"),
        ("serving-http", f"{stack.serving_url}/healthz"),
        ("flower", f"{stack.flower_url}/healthcheck"),
    ):
        if not answers(url):
            missing.append(name)
    return missing


def wait_ready(stack: StackFile, tell: Callable[[str], None], log_starts: Mapping[str, int]) -> None:
    """Waits for every part, however long, while a missing one shows signs of life.

    Raises `StackError` for a part that hangs or keeps ending, with what it logged in this start; `log_starts` are the
    sizes of the logs before it.
    """
    movement, redis_answered = Movement(), False
    while missing := unready(stack):
        programs = {one.name: one for one in program_states(stack)}
        if not redis_answered and "redis" not in missing:
            redis_answered = True
            # Programs that need Redis end until it answers; those ends do not count.
            movement.forget_ends()
        movement.look({name: programs[name] for name in missing if name in programs})
        for name in missing:
            gone = name in programs and programs[name].state == "FATAL"
            if redis_answered or name == "redis":
                gone = gone or movement.ends(name) >= MAX_ENDS
            if gone:
                raise StackError(f"{name} keeps ending; {own_lines(stack, name, log_starts)}")
        if movement.stalled:
            lines = own_lines(stack, missing[0], log_starts)
            raise StackError(f"{', '.join(missing)} did not start: nothing moved for {STALL_S:.0f} s; {lines}")
        tell(f"waiting for {', '.join(missing)}")
        time.sleep(0.2)


def own_lines(stack: StackFile, name: str, log_starts: Mapping[str, int], lines: int = 8) -> str:
    path = stack.state / "logs" / f"{name}.log"
    try:
        with path.open("rb") as file:
            size, before = file.seek(0, os.SEEK_END), log_starts.get(name, 0)
            file.seek(before if before <= size else 0)  # a shorter one was rotated
            found = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        found = []
    if not found:
        return f"it wrote nothing to {path}"
    return f"its last lines in this start ({path}):\n" + "\n".join(found)


def stop_programs(stack: StackFile) -> None:
    """Stops all programs at once except Redis, to which they hand back their work, and then Redis.

    supervisord's shutdown takes a second per program, so nothing is left to it.
    """
    calls = supervisor_calls(stack)
    all_names = {program.name for program in program_states(stack)}
    for names in (all_names - {"redis"}, {"redis"}):
        deadline = time.monotonic() + STOP_WAIT_S + 5
        for program in program_states(stack):
            if program.name in names and program.state in ("RUNNING", "STARTING", "BACKOFF"):
                calls.stopProcess(program.name, False)
        while time.monotonic() < deadline and any(
            one.state == "STOPPING" for one in program_states(stack) if one.name in names
        ):
            time.sleep(0.1)


def family(state: Path) -> list[psutil.Process]:
    """Every process started for this state folder, orphans included, except the caller and its ancestors."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    left, found = set(live_pids(state)), []
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
    """Stops all processes, gently first, orphans included; False if none ran."""
    pid = supervisor_pid(state)
    stack = read_stack(state)
    members = family(state)
    if pid is not None:
        with suppress(OSError, Fault, StackError):  # a supervisord that does not answer is killed below
            if stack is not None:
                stop_programs(stack)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        psutil.wait_procs(members, timeout=STOP_LIMIT_S)
    # Kill what did not stop in time, and orphans that supervisord does not know.
    alive = family(state)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
    stack_path(state).unlink(missing_ok=True)
    if stack is not None:
        stack.socket.unlink(missing_ok=True)
    return pid is not None or bool(members)
