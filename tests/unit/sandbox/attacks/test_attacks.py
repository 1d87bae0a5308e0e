"""Every statement of the corpus: it ends in time, stays small, writes nothing, is named, and the next one is served."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from services.sandbox.execution.pool import SandboxPool
from shared.contracts.records import Outcome
from tests.unit.sandbox.attacks.attack import Attack, expand, read_corpus
from tests.unit.sandbox.attacks.trial import FILTERS, Trial

SHARED_FOLDERS = (Path("/"), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path.home(), Path.cwd())
ATTACKS = read_corpus()


def read_walls(pid: int) -> dict[str, bool]:
    """The walls around a process, as the kernel reports them: `no_new_privileges` and `seccomp`."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {"no_new_privileges": fields.get("NoNewPrivs") == "1", "seccomp": fields.get("Seccomp") == "2"}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def traces() -> list[Path]:
    """What an attack of the corpus left in a folder that others use too: its paths hold this word."""
    return [path for folder in SHARED_FOLDERS for path in folder.glob("*sense_attack*")]


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack(trial: Trial, target: Path, attack: Attack) -> None:
    before = digest(target)
    outcome, message = trial.run(target, attack.sql, attack.expect)
    if outcome not in ("ok", "empty"):
        assert message and len(message) < 700
        assert outcome == "timeout" or attack.matches(message), message
    assert digest(target) == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert traces() == []


def test_the_corpus_is_as_its_readme_says() -> None:
    assert len(ATTACKS) >= 360
    assert [name for name, count in Counter(attack.name for attack in ATTACKS).items() if count > 1] == []
    known = {outcome.value for outcome in Outcome}
    assert [attack.name for attack in ATTACKS if not attack.sql or not attack.expect <= known] == []
    assert expand("<<3 * (a>>b<<U+0041>>") == "(a(a(abA"


@pytest.mark.skipif(not FILTERS, reason="this kernel has no seccomp filters")
def test_every_child_stands_behind_the_kernels_walls(pool: SandboxPool, target: Path) -> None:
    pool.execute(target, "SELECT 1")
    assert read_walls(pool.pids()[0]) == {"no_new_privileges": True, "seccomp": True}
