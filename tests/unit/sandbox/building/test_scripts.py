"""Scripts as people have them: dumps with views, triggers and settings; the rest of the sandbox's calls for serving."""

import httpx
import pytest

from services.sandbox.building import databases
from services.sandbox.building.databases import split_script, split_statements
from shared.catalog.databases import find_card
from shared.errors import InvalidInputError
from shared.storage.keys import card_key, database_key, ddl_card_key, ddl_database_key
from tests.support.sandbox import Sandbox, module_sandbox

__all__ = ["module_sandbox"]
TRIGGER = "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM t; END"


def test_a_dump_is_cut_into_what_is_run_and_what_is_left_out() -> None:
    text = f"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n/* a */ CREATE TABLE t(a TEXT); -- b;\n{TRIGGER};"
    found = split_script(f"{text}INSERT INTO t VALUES ('x;y');CREATE VIEW v AS SELECT 1;CREATE INDEX i ON t(a);COMMIT;")
    assert found.script.ddl == ["/* a */ CREATE TABLE t(a TEXT)", "CREATE INDEX i ON t(a)"]
    assert found.script.inserts == ["INSERT INTO t VALUES ('x;y')"]
    assert [one.split()[0] for one in found.skipped] == ["PRAGMA", "BEGIN", "CREATE", "CREATE", "COMMIT"]


def test_a_trigger_is_one_statement() -> None:
    assert split_statements(f"{TRIGGER}; SELECT 1")[0] == TRIGGER


@pytest.mark.parametrize("text", ["", ";;", "SELECT 1", "CREATE VIEW v AS SELECT 1", "-- nothing"])
def test_without_a_table_there_is_no_database(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        split_script(text)
    assert caught.value.code == "invalid_ddl"


def test_runs_come_in_order_with_fingerprints_of_whole_results(module_sandbox: Sandbox) -> None:
    with httpx.Client(base_url=module_sandbox.url, timeout=30, trust_env=False) as http:
        script = {"ddl": "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2);"}
        database_id = http.post("/scripts", json=script).json()["database_id"]
        assert http.post("/scripts", json=script).json()["database_id"] == database_id
        sqls = ["SELECT a FROM t", "SELECT x FROM t", "SELECT a FROM t ORDER BY a DESC", "SELECT a + 1 FROM t"]
        runs = http.post("/runs", json={"database_id": database_id, "sqls": sqls, "max_rows": 1}).json()["runs"]
        assert [one["outcome"] for one in runs] == ["ok", "unknown_column", "ok", "ok"]
        assert runs[0]["fingerprint"] == runs[2]["fingerprint"] != runs[3]["fingerprint"]
        assert (runs[0]["rows"], runs[0]["row_count"], runs[1]["fingerprint"]) == ([[1]], 2, None)
        for body in ({}, {"database_id": database_id, "sqls": []}, {"database_id": database_id, "sqls": ["x"] * 65}):
            assert http.post("/runs", json=body).status_code == 422
        assert http.post("/runs", json={"database_id": "../x", "sqls": ["SELECT 1"]}).status_code == 404


def test_a_database_of_a_question_is_kept_apart_and_made_again(
    module_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a caller's DDL was built to lay with the databases of jobs and datasets, for good."""
    objects, script = module_sandbox.objects, {"ddl": "CREATE TABLE only_asked(a); INSERT INTO only_asked VALUES (7);"}
    with httpx.Client(base_url=module_sandbox.url, timeout=30, trust_env=False) as http:

        def ask() -> str:
            database_id = str(http.post("/scripts", json=script).json()["database_id"])
            answer = http.post("/runs", json={"database_id": database_id, "sqls": ["SELECT a FROM only_asked"]})
            assert answer.json()["runs"][0]["rows"] == [[7]]
            return database_id

        database_id = ask()
        assert not objects.exists(database_key(database_id)) and not objects.exists(card_key(database_id))
        assert find_card(objects, database_id).database_id == database_id
        written = next(objects.entries(ddl_card_key(database_id))).modified
        monkeypatch.setattr(databases, "TOUCHED_S", 0.0)
        assert ask() == database_id
        assert next(objects.entries(ddl_card_key(database_id))).modified > written, "its last use is known"
        for key in (ddl_card_key(database_id), ddl_database_key(database_id)):
            objects.delete(key)  # as retention does
        assert ask() == database_id
        assert objects.exists(ddl_card_key(database_id))
