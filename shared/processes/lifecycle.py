"""Our long-lived processes on a machine: each ends with its parent, and no other program reads its memory."""

import ctypes
import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shared.settings import ProcessSettings

POLL_S = 1.0
STACK_MARK = "SENSE_STACK"  # set for the stack's processes only; people may export SENSE_STATE in every shell
STACK_ID = "SENSE_STACK_ID"  # one start of a stack; the gateway reports it, so callers know which stack answers
PR_SET_DUMPABLE = 4  # of prctl(2)
SECRET_NAME = re.compile(r"(^|_)(KEYS?|SECRETS?|PASSWORD|PASSWD|TOKEN|CREDENTIALS?)(_|$)", re.IGNORECASE)
SECRET_VALUE = re.compile(r"://[^/@\s:]*+:[^/@\s]++@|\"(api_key|password|secret)\"")


def exit_with_parent() -> None:
    """Hides this process's memory and watches its parent from a thread.

    When the parent ends, this process gets SIGTERM and, five seconds later, SIGKILL.
    """
    hide_memory()
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os.kill(os.getpid(), signal.SIGKILL)


def hide_memory() -> None:
    """Stops other programs of this user from tracing this process or reading its memory and environment.

    Both hold keys. Root can still read them, and a child that is not a fork is readable.
    """
    if ProcessSettings().dumpable:
        return
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if state := os.environ.get(STACK_MARK):
        with suppress(OSError):
            write_pid(Path(state))


def write_pid(state: Path) -> None:
    """Lets `sense down` find this process, whose hidden environment it cannot read."""
    folder = state / "pids"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / str(os.getpid())).write_text(f"{start_time(os.getpid())} {state}")


def live_pids(state: Path) -> list[int]:
    """Finds living processes that wrote their pid into a state folder, and deletes the files of dead ones."""
    found = []
    for path in (state / "pids").glob("[0-9]*"):
        with suppress(OSError):
            if path.read_text() == f"{start_time(int(path.name))} {state}":  # a copied folder holds pids of another one
                found.append(int(path.name))
                continue
        path.unlink(missing_ok=True)
    return found


def start_time(pid: int) -> str:
    """The process's start in ticks since boot, after the id of the boot. A pid is reused; this pair is not."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # proc(5): the name of the program may hold spaces and parentheses, so fields count from the last one
    return f"{boot} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child that calls no service: no keys, passwords, or addresses that contain one."""
    return {
        name: value
        for name, value in environment.items()
        if not SECRET_NAME.search(name) and not SECRET_VALUE.search(value)
    }
