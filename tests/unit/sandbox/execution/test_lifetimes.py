"""Children: respawned after death, ended with the pool, gone with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution, ExecutionRequest
from shared.contracts.records import Outcome
from shared.errors import CancelledError, ConflictError, SenseError

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
STALL = "SELECT instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1')"
ROOT = Path(__file__).resolve().parents[4]


def gone(pid: int) -> bool:
    """Whether the process is gone, or a zombie that waits for whoever inherited it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_for(condition: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


def test_killed_from_outside_then_next_query_works(shop: Path) -> None:
    with SandboxPool(1) as pool:
        pool.execute(shop, "SELECT 1")
        (first,) = pool.pids()
        os.kill(first, signal.SIGKILL)
        assert pool.execute(shop, "SELECT count(*) FROM customer").rows == [[4]]
        assert pool.pids() != [first]


def test_killed_while_it_runs_is_an_outcome(shop: Path) -> None:
    with SandboxPool(1) as pool:
        pool.execute(shop, "SELECT 1")
        (pid,) = pool.pids()
        threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
        ran = pool.execute(shop, ENDLESS, deadline_s=5)
        assert ran.outcome is Outcome.KILLED
        assert ran.message is not None and "-9" in ran.message
        assert pool.execute(shop, "SELECT 1").rows == [[1]]


def test_close_leaves_no_child(shop: Path) -> None:
    with SandboxPool(2) as pool:
        pool.execute_many([ExecutionRequest(shop, "SELECT count(*) FROM customer")] * 8)
        pids = pool.pids()
        assert pids
    assert all(gone(pid) for pid in pids)
    with pytest.raises(ConflictError):
        pool.execute(shop, "SELECT 1")


def test_kill_stops_what_runs_and_what_comes(shop: Path) -> None:
    errors: list[SenseError] = []
    with SandboxPool(1) as pool:
        pool.execute(shop, "SELECT 1")
        pids = pool.pids()

        def run() -> None:
            try:
                pool.execute(shop, ENDLESS, deadline_s=30)
            except SenseError as error:
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        pool.kill()
        for thread in threads:
            thread.join(10)
        assert [type(error) for error in errors] == [CancelledError, CancelledError]
        with pytest.raises(CancelledError):
            pool.execute(shop, "SELECT 1")
        assert wait_for(lambda: all(gone(pid) for pid in pids))


def test_execute_many_keeps_order_through_timeouts(shop: Path) -> None:
    with SandboxPool(2, Limits(deadline_s=0.3)) as pool:
        sqls = [STALL if n == 5 else f"SELECT {n}" for n in range(12)]
        ran = pool.execute_many([ExecutionRequest(shop, sql) for sql in sqls])
    assert ran[5].outcome is Outcome.TIMEOUT
    assert [r.rows for n, r in enumerate(ran) if n != 5] == [[[n]] for n in range(12) if n != 5]


def test_many_threads_share_few_children(shop: Path) -> None:
    found: dict[int, Execution] = {}
    with SandboxPool(2) as pool:

        def run(number: int) -> None:
            for _ in range(5):
                found[number] = pool.execute(shop, f"SELECT {number}")

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pool.pids()) <= 2
    assert {number: execution.rows for number, execution in found.items()} == {n: [[n]] for n in range(8)}


PARENT = """
import sys, threading, time
from pathlib import Path
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.limits import Limits
pool = SandboxPool(2, Limits())
shop = Path(sys.argv[1])
pool.execute(shop, "SELECT 1")
threading.Thread(target=pool.execute, args=(shop, sys.argv[2]), kwargs={"deadline_s": 60}, daemon=True).start()
while len(pool.pids()) < 1: time.sleep(0.01)
time.sleep(0.3)
threading.Thread(target=pool.execute, args=(shop, sys.argv[2]), kwargs={"deadline_s": 60}, daemon=True).start()
while len(pool.pids()) < 2: time.sleep(0.01)
time.sleep(0.3)
print(*pool.pids(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("sql", [ENDLESS, STALL], ids=["between opcodes", "inside one opcode"])
def test_parent_death_leaves_no_child(shop: Path, sql: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(shop), sql], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and not any(gone(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_for(lambda: all(gone(pid) for pid in pids), 5)


def test_a_child_sees_no_environment_of_its_parent(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_SECRET", "do-not-pass")
    with SandboxPool(1) as pool:
        pool.execute(shop, "SELECT 1")
        (pid,) = pool.pids()
        assert b"do-not-pass" not in Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max file size             0 " in limits
        assert "Max core file size        0 " in limits
