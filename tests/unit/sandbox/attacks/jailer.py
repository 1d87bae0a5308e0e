"""Starts a prisoner on a kernel that lacks some walls: `python -m tests.unit.sandbox.attacks.jailer LACKING REQUEST`.

LACKING is `seccomp`, `landlock` or both with a comma, and a filter around this process refuses those calls, as some
containers do. Prints the walls that the child found and its answer, or the error's code.
"""

import ctypes
import errno
import json
import os
import sys
from pathlib import Path

from services.sandbox.execution import walls
from services.sandbox.execution.child_process import ChildProcess
from services.sandbox.execution.database_files import create_files, open_database_file
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.walls import CREATE_RULESET, SECCOMP_CALL
from shared.errors import SenseError

PRISONERS = {False: "tests.unit.sandbox.attacks.prisoner", True: "tests.unit.sandbox.attacks.building_prisoner"}
CALLS = {"seccomp": SECCOMP_CALL, "landlock": (CREATE_RULESET, CREATE_RULESET)}


def refuse(names: list[str]) -> None:
    """From here on the kernel lacks these."""
    column, arch = walls.MACHINES[os.uname().machine]
    built = walls.SeccompProgram(column, arch)
    for name in names:
        built.add(walls.JUMP_EQUAL, CALLS[name][column] or 0, 0, 1)
        built.add(walls.RETURN, walls.ERRNO | errno.EPERM)
    built.add(walls.RETURN, walls.ALLOW)
    libc = ctypes.CDLL(None, use_errno=True)
    filled = walls.SockFprog(len(built.code) // 8, bytes(built.code))
    assert libc.prctl(walls.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    number = ctypes.c_long(SECCOMP_CALL[column] or 0)
    assert libc.syscall(number, walls.SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(filled)) == 0


def main() -> None:
    """One request."""
    lacking, request = [name for name in sys.argv[1].split(",") if name], json.loads(sys.argv[2])
    refuse(lacking)
    writes = [Path(path) for path in request.get("writes", [])]
    child = ChildProcess(Limits(), PRISONERS[bool(writes)])
    try:
        with open_database_file(Path(request["own"])) as file, create_files(writes) as targets:
            reply = child.ask({**request, "deadline_s": 20}, 20, [file, *targets])
        print(json.dumps({**reply, "walls": child.walls}))
    except SenseError as error:
        print(json.dumps({"code": error.code, "message": error.message, "walls": child.walls}))
    finally:
        child.kill()
        child.reap()


if __name__ == "__main__":
    main()
