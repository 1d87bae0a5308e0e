"""Databases on the whole embedded stack, by the command line and the client; no model is needed."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from services.cli.stack.manager import program_states
from shared.errors import NotFoundError
from tests.support.sandbox import ENDLESS, make_database
from tests.support.stack import Stack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this file's own: the one of the package waits for the small model."""
    with running_stack(tmp_path_factory.mktemp("databases") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def shop(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of an uploaded database."""
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    make_database(path)
    added = stack.sense("databases", "add", path, "--json")
    assert added.returncode == 0, added.stderr
    return str(json.loads(added.stdout)["id"])


def test_an_uploaded_database_answers_sql(stack: Stack, shop: str) -> None:
    assert [one.id for one in stack.client.databases()] == [shop]
    assert stack.objects.exists(f"databases/{shop}.sqlite")
    shown = stack.sense("databases", "show", shop)
    assert shown.returncode == 0 and "never reused" in shown.stdout
    ran = stack.sense("execute", "--db-id", shop, "--sql", "SELECT name FROM customer ORDER BY id")
    assert (ran.returncode, json.loads(ran.stdout)["rows"]) == (0, [["Ada"], ["Bob"], ["Cyd"]])
    assert stack.client.execute(shop, "SELECT count(*) FROM big").rows == [[1]]


def test_what_fails_says_so(stack: Stack, shop: str, tmp_path: Path) -> None:
    text = tmp_path / "notes.sqlite"
    text.write_text("no database")
    for words in (("databases", "add", text), ("databases", "show", "absent")):
        ended = stack.sense(*words)
        assert (ended.returncode, ended.stdout) == (2, "") and ended.stderr.startswith("sense: ")
    assert stack.client.execute(shop, ENDLESS, deadline_s=0.3).outcome == "timeout"
    assert stack.client.execute(shop, "DROP TABLE orders").outcome == "not_authorized"
    with pytest.raises(NotFoundError, match="sense databases"):
        stack.client.execute("0" * 64, "SELECT 1")
    refused = httpx.post(f"{stack.file.gateway_url}/v1/databases", content=b"no database", trust_env=False)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_database")


def test_a_killed_sandbox_comes_back(stack: Stack, shop: str) -> None:
    def answers() -> bool:
        asked = {"database_id": shop, "sql": "SELECT 1"}
        answer = httpx.post(f"{stack.file.gateway_url}/v1/execute", json=asked, timeout=30, trust_env=False)
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    assert answers()
    before = stack.pid("sandbox-http")
    children = psutil.Process(before).children()
    psutil.Process(before).kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert (len(children) > 0, alive) == (True, [])
    wait_until(answers, "the sandbox after its kill", limit_s=60)
    assert "sandbox-http" in {one.name for one in program_states(stack.file)}
    assert stack.pid("sandbox-http") != before
