"""The kernel's walls, each tried from inside a child as the product starts it, together and each alone."""

import contextlib
import errno
import json
import os
import platform
import re
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.execution import walls
from services.sandbox.execution.child_process import probe_walls
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.walls import (
    ALLOW,
    ALLOWED_CALLS,
    CLONE,
    ERRNO,
    FCNTL,
    FCNTL_COMMANDS,
    FIRST_NEW_CALL,
    KILL,
    MACHINES,
    PRCTL,
    PRCTL_OPTIONS,
    PRLIMIT,
    TGKILL,
    WRITING_CALLS,
    X32_BIT,
    build_seccomp_program,
)
from tests.unit.sandbox.attacks.trial import FILTERS

ROOT = Path(__file__).resolve().parents[4]
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
LANDLOCK = walls.landlock_version()
NEEDS_FILTERS = pytest.mark.skipif(not FILTERS, reason="this kernel has no seccomp filters")
NEEDS_LANDLOCK = pytest.mark.skipif(not LANDLOCK, reason="no Landlock here; the filter alone is tested above")
SECRET = "a-password-of-redis"
BOTH = {"seccomp": True, "landlock": True}
REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EXDEV}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a child should not reach: files, a listener, an abstract name, and another child of the same parent."""
    for name in ("own", "other"):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.sqlite")) as connection, connection:
            connection.execute("CREATE TABLE t(a)")
    (tmp_path / "redis.conf").write_text(f"requirepass {SECRET}")
    (tmp_path / "empty").mkdir()
    abstract = f"\0sense-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as named,
        subprocess.Popen(["sleep", "600"], env={"SECRET": SECRET}) as sibling,
    ):
        named.bind(abstract)
        named.listen()
        yield {
            **{"folder": str(tmp_path), "secret": str(tmp_path / "redis.conf")},
            **{"home": str(Path.home()), "own": str(tmp_path / "own.sqlite"), "other": str(tmp_path / "other.sqlite")},
            **{"port": server.getsockname()[1], "abstract": abstract, "sibling": sibling.pid},
        }
        assert sibling.poll() is None
        sibling.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "other.sqlite", "own.sqlite", "redis.conf"]
    assert (tmp_path / "redis.conf").read_text() == f"requirepass {SECRET}"


def imprisoned(place: dict[str, Any], *groups: str, lacking: str = "", **environment: str) -> dict[str, Any]:
    """What became of each attempt of these groups, by a parent that knows secrets."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.unit.sandbox.attacks.jailer", lacking, json.dumps({**place, "groups": groups})],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SENSE_REDIS_URL": f"redis://:{SECRET}@host/0", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def succeeded(attempts: dict[str, str | int]) -> dict[str, str | int]:
    """Those that no wall stopped; an error that means something else than a refusal is no proof."""
    return {name: became for name, became in attempts.items() if became not in REFUSED}


@NEEDS_FILTERS
def test_a_child_reaches_nothing_but_what_it_was_given(place: dict[str, Any]) -> None:
    found = imprisoned({**place, "sweep": True}, "still", "files", "others", "kernel")
    assert found["walls"] == {"seccomp": True, "landlock": LANDLOCK > 0}
    assert set(found["still"].values()) == {"done"}
    assert [succeeded(found[name]) for name in ("files", "others", "kernel")] == [{}, {}, {}]
    assert set(found["environment"]) <= {"PYTHONPATH", "LANG", "PATH", "LC_CTYPE"}
    assert SECRET not in json.dumps(found)
    assert len(found["sweep"]) > 400
    wanted = {number: errno.ENOSYS if int(number) >= FIRST_NEW_CALL else errno.EPERM for number in found["sweep"]}
    assert found["sweep"] == wanted


@NEEDS_FILTERS
@pytest.mark.parametrize("lacking", ["", "landlock"])
def test_a_child_that_writes_touches_only_the_files_it_was_given(
    place: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, lacking: str
) -> None:
    target = tmp_path_factory.mktemp("built") / "new"
    found = imprisoned({**place, "writes": [str(target)]}, "still", "files", "others", "kernel", lacking=lacking)
    assert set(found["still"].values()) == {"done"} and "write the given file" in found["still"]
    assert [succeeded(found[name]) for name in ("files", "others", "kernel")] == [{}, {}, {}]
    assert [path.read_text() for path in target.parent.iterdir()] == ["x"]


@NEEDS_FILTERS
def test_the_filter_alone_keeps_a_child_from_files_and_others(place: dict[str, Any]) -> None:
    found = imprisoned(place, "still", "files", "others", "kernel", lacking="landlock")
    assert found["walls"] == {"seccomp": True, "landlock": False}
    assert set(found["still"].values()) == {"done"}
    assert [succeeded(found[name]) for name in ("files", "others", "kernel")] == [{}, {}, {}]


@NEEDS_LANDLOCK
def test_landlock_alone_keeps_a_child_from_files_and_others(place: dict[str, Any]) -> None:
    found = imprisoned(place, "still", "files", "others", lacking="seccomp")
    assert found["walls"] == {"seccomp": False, "landlock": True}
    assert set(found["still"].values()) == {"done"}
    older = {"truncate"} if LANDLOCK < 3 else set()
    others = {"connect"} if LANDLOCK < 4 else set()
    if LANDLOCK < 6:
        others |= {"kill parent", "kill sibling", "own a descriptor for the sibling", "connect to an abstract name"}
    assert set(succeeded(found["files"])) <= {"open tree", *older}  # a tree that nothing can be opened in
    assert set(succeeded(found["others"])) <= others


@pytest.mark.skipif(not (FILTERS and LANDLOCK), reason="this kernel lacks what is to be taken away")
@pytest.mark.parametrize("lacking", ["seccomp", "landlock", "seccomp,landlock"])
def test_where_walls_are_required_a_child_without_one_serves_nothing(place: dict[str, Any], lacking: str) -> None:
    found = imprisoned(place, lacking=lacking, SENSE_SANDBOX_REQUIRE_WALLS="true")
    assert found["code"] == "sandbox_walls"
    assert lacking.replace(",", " and ") in found["message"] and "SENSE_SANDBOX_REQUIRE_WALLS" in found["message"]
    assert found["walls"] == {name: name not in lacking for name in BOTH}
    if lacking != "seccomp":  # the attempts would be real ones
        assert imprisoned(place, lacking=lacking)["walls"] == found["walls"]


@pytest.mark.skipif(not (FILTERS and LANDLOCK), reason="this kernel has not all walls")
def test_a_probe_says_which_walls_hold_here() -> None:
    assert probe_walls() == BOTH
    assert probe_walls(Limits(require_walls=True)) == BOTH


SERVE = """
import sys
from tests.unit.sandbox.attacks.jailer import refuse
refuse(sys.argv.pop(1).split(","))
if sys.argv.pop(1) == "http":
    from services.sandbox.__main__ import main
    sys.exit(main())
from services.sandbox.worker import app
app.worker_main(["worker", "-Q", "sandbox", "--pool", "solo"])
"""


def serving(folder: Path, kind: str, required: str) -> "subprocess.Popen[str]":
    """A service of the sandbox on a kernel without Landlock, with nothing behind it."""
    settings = {"SENSE_STATE": str(folder), "SENSE_STORE_ROOT": str(folder / "objects"), "PYTHONPATH": str(ROOT)}
    settings |= {
        "SENSE_REDIS_URL": "redis://127.0.0.1:9/0",
        "SENSE_SANDBOX_REQUIRE_WALLS": required,
        "SENSE_LOG_FORMAT": "text",
    }
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, "landlock", kind, *(["--port", "0"] if kind == "http" else [])],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@NEEDS_FILTERS
@pytest.mark.parametrize("kind", ["http", "worker"])
def test_a_service_says_which_walls_it_lacks_and_does_not_start_where_they_are_required(
    tmp_path: Path, kind: str
) -> None:
    with serving(tmp_path, kind, "true") as refused:
        said, _ = refused.communicate(timeout=60)
    assert refused.returncode in (1, 2)
    assert "refuses landlock" in said and "Traceback" not in said
    with serving(tmp_path, kind, "false") as going:
        assert going.stdout is not None
        line = next(line for line in going.stdout if "sandbox.walls" in line)
        going.kill()
    assert "landlock=False" in line and "seccomp=True" in line and "warning" in line


def verdict(code: bytes, machine: str, number: int, *arguments: int) -> int:
    """What the kernel would answer: the filter's program, run."""
    words = {0: number, 4: MACHINES[machine][1]}
    words |= {16 + 8 * place: value for place, value in enumerate(arguments)}
    steps = [struct.unpack_from("<HBBI", code, place) for place in range(0, len(code), 8)]
    value, at = 0, 0
    while True:
        operation, when, otherwise, operand = steps[at]
        at += 1
        if operation == 0x20:
            value = words.get(operand, 0)
        elif operation == 0x06:
            return int(operand)
        else:
            test = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[operation]
            at += when if test else otherwise


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("writing", [False, True])
def test_what_is_on_no_list_is_refused(machine: str, writing: bool) -> None:
    code, column = build_seccomp_program(machine, writing=writing), MACHINES[machine][0]
    free = {call[column] for call in (ALLOWED_CALLS | WRITING_CALLS if writing else ALLOWED_CALLS).values()}
    bound = {call[column] for call in (CLONE, FCNTL, KILL, PRCTL, PRLIMIT, TGKILL)}
    for number in range(2 * FIRST_NEW_CALL):
        found = verdict(code, machine, number)
        if number in free:
            assert found == ALLOW
        elif number not in bound:
            assert found == ERRNO | (errno.ENOSYS if number >= FIRST_NEW_CALL else errno.EPERM)
        assert verdict(code, machine, X32_BIT | number) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_are_bound_are_allowed_for_their_arguments_alone(machine: str) -> None:
    code, column = build_seccomp_program(machine, writing=False), MACHINES[machine][0]
    own, refused = os.getpid(), ERRNO | errno.EPERM

    def answer(call: tuple[int | None, int | None], *arguments: int) -> int:
        return verdict(code, machine, call[column] or 0, *arguments)

    assert answer(CLONE, 0x003D0F00) == ALLOW  # as glibc starts a thread
    assert answer(CLONE, 0x01200011) == refused  # as it forks
    for call in (KILL, TGKILL):
        assert [answer(call, pid) for pid in (own, 1, own + 1, 0, 0xFFFFFFFF)] == [ALLOW, *[refused] * 4]
    assert [answer(PRLIMIT, 0), answer(PRLIMIT, own + 1)] == [ALLOW, refused]
    assert {command for command in range(2000) if answer(FCNTL, 3, command) == ALLOW} == set(FCNTL_COMMANDS)
    assert {option for option in range(200) if answer(PRCTL, option) == ALLOW} == {
        option for option in PRCTL_OPTIONS if option < 200
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_another_machines_calls_end_the_process(machine: str) -> None:
    other = next(name for name in MACHINES if name != machine)
    assert verdict(build_seccomp_program(machine, writing=False), other, 0) == 0x80000000


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not HEADER.exists(), reason="needs the kernel's header for x86_64"
)
def test_numbers_agree_with_the_kernels_header() -> None:
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    named = {"clone": CLONE, "kill": KILL, "tgkill": TGKILL, "prlimit64": PRLIMIT, "fcntl": FCNTL, "prctl": PRCTL}
    calls = {**ALLOWED_CALLS, **WRITING_CALLS, **named}
    ours = {name: str(numbers[0]) for name, numbers in calls.items() if name in known}
    assert len(ours) > 70
    assert ours == {name: known[name] for name in ours}
