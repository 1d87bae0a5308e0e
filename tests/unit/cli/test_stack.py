"""The embedded stack's start, stop and identity, with a real supervisord that runs small programs."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis

from services.cli.stack import config, manager
from services.cli.stack.config import (
    SOCKET_BYTES,
    Program,
    plan_stack,
    read_stack,
    redis_program,
    socket_path,
    stack_path,
    word,
    write_stack,
)
from services.cli.stack.manager import (
    StackError,
    family,
    is_own_gateway,
    running_stack,
    start_stack,
    stop_stack,
    supervisor_pid,
)
from services.gateway.backend import Backend
from shared.errors import InvalidInputError
from shared.processes.lifecycle import STACK_ID
from tests.support.gateway import serve
from tests.support.stack import wait_until
from tests.unit.cli.conftest import Sense

STALL_S = 3.0
LIMIT_S = 120.0
HEAD = "import pathlib, sys, time\nready = pathlib.Path(sys.argv[1])\n"
QUICK = f"{HEAD}ready.touch()\ntime.sleep(600)"
HIDDEN = f"{HEAD}from shared.processes.lifecycle import hide_memory\nhide_memory()\nready.touch()\ntime.sleep(600)"
SLOW = f"{HEAD}while time.process_time() < 2 * {STALL_S}: pass\nready.touch()\ntime.sleep(600)"
STUCK = f"{HEAD}print('I wait for what never comes', flush=True)\ntime.sleep(600)"
BROKEN = f"{HEAD}print('no module named nowhere', flush=True)\nsys.exit(1)"
Use = Callable[..., None]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    yield folder
    stop_stack(folder)
    assert family(folder) == []


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    """Stacks are made of these programs, each a Python text that touches its file once it is ready."""
    monkeypatch.setattr(manager, "STALL_S", STALL_S)
    monkeypatch.setattr(manager, "MOVED_CPU_S", 0.05)

    def made(**sources: str) -> None:
        files = {name: tmp_path / f"{name}.py" for name in sources}
        for name, file in files.items():
            file.write_text(sources[name])

        def all_programs(stack: config.StackFile) -> list[Program]:
            return [
                Program(name, f"{word(sys.executable)} {word(file)} {word(stack.state / name)}", 10)
                for name, file in files.items()
            ]

        def unready(stack: config.StackFile) -> list[str]:
            return [name for name in files if not (stack.state / name).exists()]

        monkeypatch.setattr(config, "all_programs", all_programs)
        monkeypatch.setattr(manager, "unready", unready)

    return made


def quiet(_: str) -> None:
    """Nobody looks."""


def test_a_start_goes_on_as_long_as_something_moves(use: Use, state: Path) -> None:
    use(quick=QUICK, slow=SLOW)
    began = time.monotonic()
    stack, started = start_stack(state, quiet)
    assert started and time.monotonic() - began > STALL_S
    assert running_stack(state) == stack
    assert stop_stack(state) and running_stack(state) is None


@pytest.mark.parametrize(
    ("source", "said", "line"),
    [
        (STUCK, "stuck did not start: nothing moved for 3 s", "I wait for what"),
        (BROKEN, "stuck keeps ending", "no module named nowhere"),
    ],
    ids=["stands still", "keeps ending"],
)
def test_a_start_that_fails_names_the_program_and_shows_its_lines_of_this_start(
    use: Use, state: Path, source: str, said: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == BROKEN:
        monkeypatch.setattr(manager, "STALL_S", LIMIT_S)  # supervisord waits longer from try to try
    (state / "logs").mkdir(parents=True)
    (state / "logs" / "stuck.log").write_text("of an earlier start\n" * 20)
    use(quick=QUICK, stuck=source)
    with pytest.raises(StackError) as failed:
        start_stack(state, quiet)
    assert said in failed.value.message and line in failed.value.message
    assert "of an earlier start" not in failed.value.message
    assert str(state / "logs" / "stuck.log") in failed.value.message
    assert read_stack(state) is None and family(state) == []


def test_two_starts_at_once_are_one(use: Use, state: Path) -> None:
    use(quick=QUICK)
    found: list[tuple[config.StackFile, bool]] = []
    starts = [threading.Thread(target=lambda: found.append(start_stack(state, quiet))) for _ in range(3)]
    for start in starts:
        start.start()
    for start in starts:
        start.join(LIMIT_S)
    assert sorted(started for _, started in found) == [False, False, True]
    assert len({stack.id for stack, _ in found}) == 1
    assert len(psutil.Process(supervisor_pid(state)).children()) == 1


def test_what_a_killed_stack_left_is_ended_before_the_next_start(use: Use, state: Path) -> None:
    """Without root the environment of a service cannot be read."""
    use(quick=HIDDEN)
    first, _ = start_stack(state, quiet)
    pid = supervisor_pid(state)
    assert pid is not None
    orphans = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: supervisor_pid(state) is None, "the end of supervisord", limit_s=LIMIT_S)
    assert running_stack(state) is None and all(orphan.is_running() for orphan in orphans)
    second, started = start_stack(state, quiet)
    assert started and second.id != first.id
    assert len(orphans) == 1 and not orphans[0].is_running()


def test_a_pid_that_another_program_has_now_is_no_stack(use: Use, state: Path) -> None:
    """After a restart of the machine: the file and its number are still there, and the number is another's."""
    use(quick=QUICK)
    state.mkdir()
    write_stack(plan_stack(state))
    command = [sys.executable, "-c", "import time; time.sleep(600)", "supervisord", "-c", "/elsewhere/supervisord.conf"]
    with subprocess.Popen(command) as bystander:
        (state / "supervisord.pid").write_text(str(bystander.pid))
        assert running_stack(state) is None
        assert not stop_stack(state)
        assert start_stack(state, quiet)[1]
        stop_stack(state)
        assert bystander.poll() is None
        bystander.kill()


def test_a_copied_folder_is_not_the_stack_it_was_copied_from(use: Use, state: Path, tmp_path: Path) -> None:
    use(quick=HIDDEN)
    stack, _ = start_stack(state, quiet)
    copy = tmp_path / "copy"
    shutil.copytree(state, copy)
    assert list((copy / "pids").iterdir())
    assert running_stack(copy) is None and read_stack(copy) is None
    assert not stop_stack(copy)
    assert running_stack(state) == stack and stack.socket.exists()
    assert {one.state for one in manager.program_states(stack)} <= {"RUNNING", "STARTING"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 1}', "\x00" * 300])
def test_a_torn_file_is_no_stack(state: Path, sense: Sense, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state.mkdir()
    stack_path(state).write_text(text)
    monkeypatch.setattr("services.cli.terminal.DEFAULT_URL", "http://127.0.0.1:9")
    assert read_stack(state) is None
    assert sense("jobs").code == sense("status").code == 3
    assert sense("down").code == 0


def test_a_path_with_everything_in_it(use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis and a program of ours, below a path that is quoted or escaped somewhere on each way."""
    odd = tmp_path / 'it\'s 100% "new" (1)' / ("long" * 40) / ("longer" * 30) / "state"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))
    Path(tempfile.gettempdir()).mkdir()
    use(quick=QUICK)
    small = config.all_programs
    monkeypatch.setattr(config, "all_programs", lambda stack: [redis_program(stack), *small(stack)])
    monkeypatch.setattr(manager, "unready", lambda stack: [] if redis_answers(stack) else ["redis"])
    try:
        stack, _ = start_stack(odd, quiet)
        assert len(os.fsencode(stack.socket)) <= SOCKET_BYTES
        assert (odd / "redis" / "appendonlydir").is_dir()
        wait_until((odd / "quick").exists, "the other program", limit_s=LIMIT_S)
    finally:
        stop_stack(odd)
    assert family(odd) == []


def redis_answers(stack: config.StackFile) -> bool:
    with closing(redis.Redis.from_url(stack.redis_url)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def test_places_that_cannot_hold_a_stack_are_told(
    use: Use, sense: Sense, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(quick=QUICK)
    (tmp_path / "file").write_text("x")
    for place, said in (
        (tmp_path / "file", "Not a directory"),
        (tmp_path / "file" / "state", "Not a directory"),
        (Path("/proc/nowhere/state"), "No such file or directory"),
        (tmp_path / ("n" * 300), "File name too long"),
    ):
        monkeypatch.setenv("SENSE_STATE", str(place))
        ended = sense("up")
        assert ended.code == 1, ended.err
        assert said in ended.err and str(place) in ended.err and "SENSE_STATE" in ended.err
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "two\nlines"))
    ended = sense("up")
    assert ended.code == 2 and "SENSE_STATE" in ended.err


def test_a_socket_that_fits_nowhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SOCKET_BYTES", 10)
    with pytest.raises(InvalidInputError, match="TMPDIR"):
        socket_path(tmp_path)


def test_state_is_its_owners_alone(use: Use, state: Path, tmp_path: Path) -> None:
    use(quick=QUICK)
    own = tmp_path / ".sense"
    own.mkdir(mode=0o755)
    (own / "redis.conf").touch(mode=0o644)
    try:
        for folder in (state, own):
            start_stack(folder, quiet)
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
            assert {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    finally:
        stop_stack(own)
    shared = tmp_path / "of many"
    shared.mkdir(mode=0o755)
    try:
        start_stack(shared, quiet)
        assert stat.S_IMODE(shared.stat().st_mode) == 0o755
        assert stat.S_IMODE((shared / "logs").stat().st_mode) == 0o700
    finally:
        stop_stack(shared)


# whose gateway it is


@pytest.fixture
def gateway(backend: Backend, monkeypatch: pytest.MonkeyPatch, sense: Sense) -> Iterator[str]:
    """One on the default port of this machine."""
    with serve(backend) as url:
        monkeypatch.setattr("services.cli.terminal.DEFAULT_URL", url)
        yield url


def described(state: Path, url: str, own: str) -> None:
    """As `sense up` leaves it."""
    state.mkdir(exist_ok=True)
    write_stack(plan_stack(state).model_copy(update={"gateway_url": url, "id": own}))


def test_another_folders_stack_is_not_asked(
    sense: Sense, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STACK_ID, "theirs")
    for words in (("jobs",), ("models",), ("datasets",), ("databases",), ("cancel", "j"), ("keys",), ("status",)):
        ended = sense(*words)
        assert ended.code == 3, (words, ended)
        assert "sense up" in ended.err + ended.out
    assert gateway in sense("jobs").err and str(tmp_path / "state") in sense("jobs").err
    described(tmp_path / "state", gateway, "ours")
    ended = sense("jobs")
    assert ended.code == 3 and "belongs to another folder" in ended.err
    assert sense("jobs", "--url", gateway).code == 0
    monkeypatch.setenv("SENSE_URL", gateway)
    assert sense("jobs").code == 0


def test_this_folders_stack_is_asked_without_a_word(
    sense: Sense, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STACK_ID, "ours")
    described(tmp_path / "state", gateway, "ours")
    ended = sense("jobs")
    assert (ended.code, ended.err) == (0, "")


def test_a_gateway_that_no_folder_started_is_asked_and_named(
    sense: Sense, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STACK_ID, raising=False)
    ended = sense("jobs", "--json")
    assert ended.code == 0 and gateway in ended.err
    json.loads(ended.out)
    described(tmp_path / "state", gateway, "ours")
    assert sense("jobs").code == 3


def test_a_start_is_not_ready_by_another_stacks_gateway(
    gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was quicker to take the port that both had found free."""
    described(tmp_path / "state", gateway, "ours")
    stack = read_stack(tmp_path / "state")
    assert stack is not None
    for own, ready in (("theirs", False), ("ours", True)):
        monkeypatch.setenv(STACK_ID, own)
        assert is_own_gateway(stack) is ready


def test_the_doctor_does_not_examine_another_folders_stack(
    sense: Sense, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STACK_ID, "theirs")
    found = {one["subject"]: one for one in json.loads(sense("doctor", "--json").out)}
    assert found["gateway"]["grade"] == "note" and "belongs to another folder" in found["gateway"]["said"]
    assert "engine" not in found


def test_an_error_says_which_gateway_it_was_where_the_command_does_not(
    sense: Sense, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the gateway was" not in sense("cancel", "nowhere", "--url", gateway).err
    monkeypatch.setenv("SENSE_URL", gateway)
    assert f"the gateway was {gateway}" in sense("cancel", "nowhere").err


def test_a_stack_whose_gateway_is_silent_says_so(sense: Sense, tmp_path: Path) -> None:
    described(tmp_path / "state", "http://127.0.0.1:9", "ours")
    ended = sense("jobs")
    assert ended.code == 3 and "does not answer at http://127.0.0.1:9" in ended.err


def test_up_says_whose_the_usual_port_is(use: Use, sense: Sense, gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(gateway.rpartition(":")[2])
    monkeypatch.delenv("SENSE_PORT_GATEWAY", raising=False)
    monkeypatch.setitem(config.DEFAULT_PORTS, "gateway", port)
    monkeypatch.setenv(STACK_ID, "theirs")
    use(quick=QUICK)
    ended = sense("up")
    assert ended.code == 0, ended.err
    assert f"port {port} is taken by another folder's stack: this stack's gateway is at port" in ended.out
    assert sense("down").code == 0
