"""The client's databases: real gateway, real sandbox, real files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gateway.backend import Backend
from shared.client.client import RejectedError, SenseClient
from shared.errors import NotFoundError, UnavailableError
from tests.support.gateway import make_backend, serve
from tests.support.sandbox import Sandbox, make_database, module_sandbox

__all__ = ["module_sandbox"]


@pytest.fixture
def backend(module_redis_url: str, module_sandbox: Sandbox) -> Backend:
    return make_backend(module_redis_url, module_sandbox.objects.root, sandbox=module_sandbox.settings)


@pytest.fixture
def client(backend: Backend) -> Iterator[SenseClient]:
    with serve(backend) as url, SenseClient(url) as client:
        yield client


def test_upload_look_execute(client: SenseClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my shop.sqlite"
    data = make_database(path)
    made = client.upload_database(path)
    assert (made.name, made.size, made.tables, made.triggers) == ("my shop", len(data), 2, 1)
    assert client.upload_database(path, "other") == made
    found = client.database(made.id)
    assert (found.upload, found.card.tables[0].name) == (made, "customer")
    ran = client.execute(made.id, "SELECT count(*) FROM orders")
    assert (ran.outcome, ran.rows, ran.message) == ("ok", [[3]], None)
    failed = client.execute(made.id, "SELECT absent FROM orders", deadline_s=1, max_rows=0)
    assert (failed.outcome, failed.rows) == ("unknown_column", [])
    monkeypatch.setattr("shared.client.client.PAGE_SIZE", 1)
    more = tmp_path / "more.sqlite"
    make_database(more, "CREATE TABLE more(a);")
    newer = client.upload_database(more)
    assert list(client.databases()) == [newer, made]
    assert list(client.databases(limit=1)) == [newer]


def test_errors_carry_code_and_sentence(client: SenseClient, tmp_path: Path) -> None:
    text = tmp_path / "notes.sqlite"
    text.write_text("no database")
    with pytest.raises(RejectedError, match="not a SQLite database") as rejected:
        client.upload_database(text)
    assert rejected.value.code == "invalid_database"
    with pytest.raises(NotFoundError, match=r"absent\.sqlite"):
        client.upload_database(tmp_path / "absent.sqlite")
    for call in (lambda: client.database("absent"), lambda: client.execute("absent", "SELECT 1")):
        with pytest.raises(NotFoundError) as absent:
            call()
        assert absent.value.code == "database_not_found"
    for budget in ({"deadline_s": float("nan")}, {"deadline_s": 0.0}, {"max_rows": -1}, {"deadline_s": 1e6}):
        with pytest.raises(RejectedError):
            client.execute("absent", "SELECT 1", **budget)  # type: ignore[arg-type]


def test_a_sandbox_that_is_away(module_redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    make_database(path)
    with serve(make_backend(module_redis_url, tmp_path / "objects")) as url, SenseClient(url) as client:
        with pytest.raises(UnavailableError) as away:
            client.upload_database(path)
        assert (away.value.code, away.value.retryable) == ("sandbox_unavailable", True)
