"""Questions to SQL over the gateway: real sandbox, real store; the engine says what the test wants."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.api.sql import SqlRequest
from shared.client.client import SenseClient
from shared.errors import NotFoundError
from shared.models.manifest import ModelManifest, publish_model
from tests.support.asking import serve_asking
from tests.support.engine import Engine, start_engine
from tests.support.gateway import make_backend, serve
from tests.support.sandbox import Sandbox, make_database, module_sandbox

__all__ = ["module_sandbox"]
COUNT, WRONG, NONE = "SELECT count(*) FROM customer", "SELECT missing FROM customer", "I do not know."
DDL = "CREATE TABLE t (a INTEGER, b TEXT);"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with start_engine("base", answer=COUNT) as server:
        yield server


@pytest.fixture
def url(engine: Engine, module_redis_url: str, module_sandbox: Sandbox) -> Iterator[str]:
    objects = module_sandbox.objects
    with serve_asking(objects, engine.url, module_sandbox.url) as serving:
        backend = make_backend(
            module_redis_url, objects.root, sandbox=module_sandbox.settings, serving_url=serving, engine_url=engine.url
        )
        with serve(backend) as gateway:
            yield gateway


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def shop(http: httpx.Client, tmp_path: Path) -> str:
    data = make_database(tmp_path / "shop.sqlite")
    answer = http.post("/v1/databases", content=data, headers={"Content-Type": "application/vnd.sqlite3"})
    return str(answer.json()["id"])


def ask(http: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = http.post("/v1/sql", json={"question": "How many customers?", **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_one_sample_is_sql_with_the_trainings_prompt_and_nothing_is_run(
    http: httpx.Client, shop: str, engine: Engine
) -> None:
    found = ask(http, database_id=shop, evidence="a customer buys")
    assert (found["object"], found["sql"], found["model"], found["database_id"]) == ("sql", COUNT, "base", shop)
    assert (found["outcome"], found["result"], found["vote"], found["rows"]) == (None, None, None, 3)
    assert (found["tokens"], len(found["samples"])) == ({"prompt": 10, "completion": 4}, 1)
    prompt = engine.asked[0]["messages"][-1]["content"]
    assert prompt.endswith("External knowledge: a customer buys\nQuestion: How many customers?")
    assert "first rows" in prompt
    assert engine.asked[0]["temperature"] == 0


def test_execute_gives_rows_and_a_dialect_is_for_display_only(http: httpx.Client, shop: str, engine: Engine) -> None:
    engine.answer = "SELECT IFNULL(name, '') AS n FROM customer LIMIT 2"
    found = ask(http, database_id=shop, execute=True, dialect="postgres", max_rows=1)
    assert found["sql"] == engine.answer
    assert found["display_sql"] == "SELECT COALESCE(name, '') AS n FROM customer LIMIT 2"
    assert (found["outcome"], found["result"]["columns"], found["result"]["rows"]) == ("ok", ["n"], [["Ada"]])
    assert (found["result"]["row_count"], found["result"]["truncated"]) == (2, True)


def test_what_cannot_be_shown_in_the_dialect_is_said(http: httpx.Client, shop: str, engine: Engine) -> None:
    engine.answer = "SELECT FROM WHERE"
    found = ask(http, database_id=shop, dialect="duckdb")
    assert (found["sql"], found["display_sql"], found["dialect"]) == ("SELECT FROM WHERE", None, "duckdb")
    assert "cannot be shown in duckdb" in found["warnings"][0]


def test_samples_vote_by_what_they_return(http: httpx.Client, shop: str, engine: Engine) -> None:
    other = "SELECT count(id) FROM customer"
    engine.answers = ["SELECT name FROM customer", COUNT, WRONG, WRONG, WRONG, other, NONE, "SELECT id FROM customer"]
    found = ask(http, database_id=shop, n=8)
    assert (found["sql"], found["vote"], found["outcome"]) == (COUNT, "execution", "ok")
    votes = {one["sql"]: (one["count"], one["votes"], one["outcome"]) for one in found["samples"]}
    assert votes[COUNT] == (1, 2, "ok")
    assert votes[other] == (1, 2, "ok")
    assert votes[WRONG] == (3, 3, "unknown_column")
    assert votes[None] == (1, 1, "unextractable")
    assert engine.asked[0]["temperature"] == 1
    assert found["samples"][0]["sql"] == COUNT


def test_one_repair_round_sees_the_models_own_error(http: httpx.Client, shop: str, engine: Engine) -> None:
    engine.answers = [WRONG, COUNT]
    found = ask(http, database_id=shop, repair=True)
    assert (found["sql"], found["outcome"]) == (COUNT, "ok")
    assert found["repaired"] == {"sql": WRONG, "outcome": "unknown_column", "message": "no such column: missing"}
    assert found["tokens"] == {"prompt": 20, "completion": 8}
    assert [message["role"] for message in engine.asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert "no such column: missing" in engine.asked[1]["messages"][-1]["content"]


@pytest.mark.parametrize(("second", "said"), [(NONE, "held no SQL"), ("SELECT x FROM y", "the repair fails too")])
def test_a_repair_that_is_no_better_leaves_the_first(
    http: httpx.Client, shop: str, engine: Engine, second: str, said: str
) -> None:
    engine.answers = [WRONG, second]
    found = ask(http, database_id=shop, repair=True, execute=True)
    assert (found["sql"], found["repaired"], found["outcome"]) == (WRONG, None, "unknown_column")
    assert said in found["warnings"][0]
    assert len(engine.asked) == 2


def test_sql_that_runs_is_not_repaired(http: httpx.Client, shop: str, engine: Engine) -> None:
    assert ask(http, database_id=shop, repair=True)["repaired"] is None
    assert len(engine.asked) == 1


def test_an_answer_without_sql_is_an_answer(http: httpx.Client, shop: str, engine: Engine) -> None:
    engine.answer = NONE
    found = ask(http, database_id=shop, execute=True)
    assert (found["sql"], found["outcome"], found["result"]) == (None, "unextractable", None)
    assert found["samples"][0]["answer"] == NONE


def test_a_ddl_becomes_a_database_and_votes_by_text(http: httpx.Client, engine: Engine) -> None:
    engine.answers = ["SELECT a FROM t", "SELECT b FROM t", "select  b from t -- again", "SELECT c FROM t"]
    found = ask(http, ddl=f"PRAGMA foreign_keys=ON; {DDL} CREATE VIEW v AS SELECT 1;", n=4)
    assert (found["sql"], found["vote"]) == ("SELECT b FROM t", "text")
    assert [one["outcome"] for one in found["samples"]] == ["empty", "empty", "empty", "unknown_column"]
    assert any("no rows" in one for one in found["warnings"])
    assert any("CREATE VIEW" in one for one in found["warnings"])
    again = ask(http, database_id=found["database_id"], execute=True)
    assert again["database_id"] == found["database_id"]


def test_a_ddl_with_rows_votes_by_execution(http: httpx.Client, engine: Engine) -> None:
    engine.answers = ["SELECT a FROM t", "SELECT b FROM t", "SELECT a + 0 FROM t"]
    found = ask(http, ddl=f"{DDL} INSERT INTO t VALUES (1, 'x;y');", n=3)
    assert (found["sql"], found["vote"]) == ("SELECT a FROM t", "execution")


def test_a_prompt_that_is_too_long_is_asked_without_rows(http: httpx.Client, shop: str, engine: Engine) -> None:
    ask(http, database_id=shop, rows=0)
    engine.longest = sum(len(message["content"]) for message in engine.asked[0]["messages"])
    found = ask(http, database_id=shop)
    assert (found["sql"], found["rows"]) == (COUNT, 0)
    assert "too long" in found["warnings"][0]
    engine.longest = 5
    answer = http.post("/v1/sql", json={"question": "q", "database_id": shop})
    assert (answer.status_code, answer.json()["code"]) == (422, "context_length_exceeded")


def publish(sandbox: Sandbox, folder: Path, name: str, job: str, rows: int) -> None:
    shown = "CREATE TABLE t (a);\n" + ("/* first rows:\na\n" + "1\n" * rows + "*/\n" if rows else "")
    key = f"jobs/{job}/collect/export/{name}.jsonl"
    line = {"prompt": [{"role": "user", "content": f"{shown}Question: q"}], "completion": []}
    data = sandbox.objects.put(key, httpx.Request("POST", "http://x", json=line).content)
    manifest = ModelManifest(
        name=name, base="b", parent=None, method="sft", mode="lora", job_id=job, stage="sft", data=data,
        code_version="0", prompt_version="p", files={},
    )  # fmt: skip
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    publish_model(sandbox.objects, folder, manifest)


def test_the_newest_trained_model_answers_or_the_one_that_its_job_promoted(
    http: httpx.Client, shop: str, engine: Engine, module_sandbox: Sandbox, tmp_path: Path
) -> None:
    publish(module_sandbox, tmp_path / "a", "j1-sft", "j1", 0)
    publish(module_sandbox, tmp_path / "b", "j1-dpo", "j1", 2)
    engine.models = ("base", "j1-dpo", "j1-sft")
    engine.created = {"base": 30, "j1-sft": 10, "j1-dpo": 20}
    found = ask(http, database_id=shop)
    assert (found["model"], found["rows"]) == ("j1-dpo", 2)  # as many rows as in its training prompts
    module_sandbox.objects.put("reports/j1/report.json", b'{"promotion": {"arm_id": "sft", "model": "j1-sft"}}')
    found = ask(http, database_id=shop)
    assert (found["model"], found["rows"]) == ("j1-sft", 0)
    assert ask(http, database_id=shop, model="base")["model"] == "base"


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "invalid_request"),
    ({"database_id": "ID", "ddl": DDL}, 422, "invalid_request"),
    ({"database_id": "ID", "question": "  "}, 422, "invalid_request"),
    ({"database_id": "ID", "question": "\ud800"}, 422, "invalid_request"),
    ({"database_id": "ID", "n": 0}, 422, "invalid_request"),
    ({"database_id": "ID", "n": 33}, 422, "invalid_request"),
    ({"database_id": "ID", "temperature": 3}, 422, "invalid_request"),
    ({"database_id": "ID", "rows": 6}, 422, "invalid_request"),
    ({"database_id": "ID", "unknown": 1}, 422, "invalid_request"),
    ({"database_id": "ID", "dialect": "klingon"}, 422, "unknown_dialect"),
    ({"database_id": "ID", "deadline_s": 1e6, "execute": True}, 422, "invalid_input"),
    ({"database_id": "../../etc"}, 404, "database_not_found"),
    ({"database_id": "0" * 64}, 404, "database_not_found"),
    ({"database_id": "ID", "model": "absent"}, 404, "model_not_found"),
    ({"ddl": "SELECT 1"}, 422, "invalid_ddl"),
    ({"ddl": "CREATE TABLE t ("}, 422, "invalid_ddl"),
    ({"ddl": "CREATE VIEW v AS SELECT 1"}, 422, "invalid_ddl"),
    ({"ddl": f"{DDL} ATTACH 'x' AS y"}, 422, "invalid_ddl"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_asked_is_a_problem(
    http: httpx.Client, shop: str, body: dict[str, Any], status: int, code: str
) -> None:
    given = {"question": "q", **body}
    given |= {"database_id": shop} if given.get("database_id") == "ID" else {}

    answer = http.post("/v1/sql", content=json.dumps(given), headers={"Content-Type": "application/json"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_nothing_served_and_engines_and_services_that_are_away_are_said(
    http: httpx.Client, shop: str, engine: Engine, module_redis_url: str, module_sandbox: Sandbox
) -> None:
    with serve_asking(module_sandbox.objects, engine.url, module_sandbox.url) as serving:
        assert httpx.get(f"{serving}/readyz").json() == {"status": "ok"}
        assert b"python_info" in httpx.get(f"{serving}/metrics").content
    with serve_asking(module_sandbox.objects, "http://127.0.0.1:9", module_sandbox.url) as serving:
        answer = httpx.get(f"{serving}/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
        assert httpx.get(f"{serving}/healthz").status_code == 200
    engine.models = ()
    answer = http.post("/v1/sql", json={"question": "q", "database_id": shop})
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
    engine.shutdown()
    engine.server_close()
    answer = http.post("/v1/sql", json={"question": "q", "database_id": shop})
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    with serve(make_backend(module_redis_url, module_sandbox.objects.root)) as url:
        answer = httpx.post(f"{url}/v1/sql", json={"question": "q", "database_id": shop})
    assert (answer.status_code, answer.json()["code"]) == (503, "serving_unavailable")
    assert answer.headers["Retry-After"]


def test_a_caller_who_hangs_up_ends_the_engines_work(url: str, http: httpx.Client, shop: str, engine: Engine) -> None:
    engine.pause_s = 20.0
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/sql", json={"question": "q", "database_id": shop}, timeout=0.7)
    ends = time.monotonic() + 5
    while not engine.left and time.monotonic() < ends:
        time.sleep(0.02)
    assert engine.left == 1


def test_the_typed_client_asks(url: str, shop: str) -> None:
    with SenseClient(url) as client:
        answer = client.ask(SqlRequest(question="How many?", database_id=shop, execute=True))
        assert answer.result is not None
        assert answer.result.rows == [[3]]
        with pytest.raises(NotFoundError):
            client.ask(SqlRequest(question="How many?", database_id="0" * 64))
