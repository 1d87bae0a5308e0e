"""Files made to do harm: read or refused by name, in time, never changed, and the next query is served."""

import hashlib
from pathlib import Path

import pytest

from services.sandbox.building.databases import make_card
from services.sandbox.execution.pool import SandboxPool
from shared.errors import InvalidInputError
from tests.unit.sandbox.attacks.hostile import HOSTILE, Hostile
from tests.unit.sandbox.attacks.trial import DAMAGED, Trial

READABLE = frozenset({"ok", "timeout", DAMAGED})


def card_or_refusal(pool: SandboxPool, path: Path) -> None:
    """A card is made by other statements than queries, and without the allow-list."""
    try:
        assert make_card(path, "hostile", sample_rows=3, pool=pool).database_id == "hostile"
    except InvalidInputError as error:
        assert path.name in error.message


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
def test_hostile_file(trial: Trial, tmp_path: Path, hostile: Hostile) -> None:
    path = tmp_path / "hostile.sqlite"
    hostile.build(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    trial.run(path, hostile.sql, hostile.expect)
    trial.run(path, "SELECT count(*) FROM sqlite_master", READABLE)
    card_or_refusal(trial.pool, path)
    trial.check_service()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
