"""SQL over the gateway: what ran is an answer, what cannot be asked is a problem."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import make_backend, serve
from tests.support.sandbox import ENDLESS, Sandbox, make_database, module_sandbox

__all__ = ["module_sandbox"]


@pytest.fixture
def http(module_redis_url: str, module_sandbox: Sandbox) -> Iterator[httpx.Client]:
    backend = make_backend(module_redis_url, module_sandbox.objects.root, sandbox=module_sandbox.settings)
    with serve(backend) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def shop(http: httpx.Client, tmp_path: Path) -> str:
    data = make_database(tmp_path / "shop.sqlite")
    answer = http.post("/v1/databases", content=data, headers={"Content-Type": "application/vnd.sqlite3"})
    return str(answer.json()["id"])


def test_rows_come_with_their_count(http: httpx.Client, shop: str) -> None:
    body = {"database_id": shop, "sql": "SELECT id, total FROM orders ORDER BY id", "max_rows": 1, "deadline_s": 1}
    answer = http.post("/v1/execute", json=body)
    found = answer.json()
    assert (answer.status_code, found["object"], found["outcome"]) == (200, "execution", "ok")
    assert (found["columns"], found["rows"], found["row_count"], found["truncated"]) == (
        ["id", "total"],
        [[1, 10.0]],
        3,
        True,
    )


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [("SELECT", "syntax_error"), ("SELECT 1\0", "syntax_error"), ("DROP TABLE orders", "not_authorized")],
)
def test_sql_that_fails_is_an_answer(http: httpx.Client, shop: str, sql: str, outcome: str) -> None:
    answer = http.post("/v1/execute", json={"database_id": shop, "sql": sql})
    assert (answer.status_code, answer.json()["outcome"]) == (200, outcome)
    assert answer.json()["message"]


BAD: list[tuple[str, int, str]] = [
    ("{}", 422, "invalid_request"),
    ("nothing", 422, "invalid_request"),
    ('{"database_id": "ID", "sql": "SELECT 1", "deadline_s": 0}', 422, "invalid_request"),
    ('{"database_id": "ID", "sql": "SELECT 1", "deadline_s": NaN}', 422, "invalid_request"),
    ('{"database_id": "ID", "sql": "SELECT 1", "deadline_s": 1e9}', 422, "invalid_input"),
    ('{"database_id": "ID", "sql": "SELECT 1", "max_rows": -1}', 422, "invalid_request"),
    ('{"database_id": "ID", "sql": "SELECT 1", "max_rows": 1000000}', 422, "invalid_input"),
    ('{"database_id": "ID", "sql": "SELECT 1", "unknown": 1}', 422, "invalid_request"),
    ('{"database_id": "ID", "sql": "\\ud800"}', 422, "invalid_request"),
    ('{"database_id": "' + "0" * 64 + '", "sql": "SELECT 1"}', 404, "database_not_found"),
    ('{"database_id": "ID", "sql": "' + "x" * 10_000_000 + '"}', 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_asked_is_a_problem(http: httpx.Client, shop: str, body: str, status: int, code: str) -> None:
    answer = http.post(
        "/v1/execute", content=body.replace("ID", shop).encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_more_than_the_sandbox_takes_is_refused_retryable(http: httpx.Client, shop: str) -> None:
    def ask(_: int) -> httpx.Response:
        return http.post("/v1/execute", json={"database_id": shop, "sql": ENDLESS, "deadline_s": 2.0})

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(ask, range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503, 503]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.json()["code"] for answer in refused} == {"sandbox_busy"}
    assert all(answer.headers["Retry-After"] for answer in refused)
