"""Datasets over the gateway: streamed in, checked by line, listed, browsed."""

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from shared.catalog.databases import SchemaCard
from shared.contracts.records import Example
from shared.storage.keys import card_key
from tests.support.datasets import make_example, make_head

DATABASE = "ab" * 32
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def database(backend: Backend) -> None:
    card = SchemaCard(database_id=DATABASE, tables=[])
    backend.objects.put(card_key(DATABASE), card.model_dump_json().encode())


def body(head: Any, *rows: Any) -> bytes:
    texts = [row if isinstance(row, str) else row.model_dump_json() for row in (head, *rows)]
    return "\n".join(texts).encode()


def rows(count: int = 5) -> list[Example]:
    return [make_example(n, DATABASE, "train" if n == 4 else "dev") for n in range(count)]


def test_a_data_set_comes_in_and_is_browsed(api: TestClient, backend: Backend) -> None:
    answer = api.post("/v1/datasets", content=body(make_head(), *rows()), headers=LINES)
    made = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/datasets/singers")
    assert (made["questions"], made["splits"], made["databases"]) == (5, {"dev": 4, "train": 1}, 1)
    assert (made["hardness"]["dev"], made["ceiling"]) == ({"extra": 2, "easy": 2}, 1.0)
    again = api.post("/v1/datasets", content=body(make_head(), *rows()), headers=LINES)
    assert (again.status_code, again.json()) == (200, made)
    keys = list(backend.objects.list("datasets/"))
    assert keys == [f"datasets/singers/{made['version']}/{name}" for name in ("examples.jsonl", "manifest.json")]
    first = api.get("/v1/datasets/singers/examples?limit=3").json()
    assert [one["index"] for one in first["data"]] == [0, 1, 2] and first["has_more"]
    rest = api.get("/v1/datasets/singers/examples", params={"after": first["last_id"]}).json()
    assert ([one["index"] for one in rest["data"]], rest["has_more"]) == ([3, 4], False)
    extra = api.get("/v1/datasets/singers/examples?split=dev&hardness=extra").json()
    assert [one["index"] for one in extra["data"]] == [0, 2]


def test_versions_and_list(api: TestClient) -> None:
    old = api.post("/v1/datasets", content=body(make_head(), *rows(2)), headers=LINES).json()
    time.sleep(0.002)
    new = api.post("/v1/datasets", content=body(make_head(), *rows(3)), headers=LINES).json()
    time.sleep(0.002)
    api.post("/v1/datasets", content=body(make_head("other", policy="bird"), *rows(3)), headers=LINES)
    assert old["version"] != new["version"]
    shown = api.get("/v1/datasets/singers").json()
    assert (shown["version"], [one["version"] for one in shown["versions"]]) == (
        new["version"],
        [new["version"], old["version"]],
    )
    assert api.get("/v1/datasets/singers", params={"version": old["version"]}).json()["questions"] == 2
    page = api.get("/v1/datasets?limit=1").json()
    assert ([one["name"] for one in page["data"]], page["has_more"]) == (["other"], True)
    page = api.get("/v1/datasets", params={"after": page["last_id"]}).json()
    assert ([one["version"] for one in page["data"]], page["has_more"]) == ([new["version"]], False)


@pytest.mark.parametrize(
    ("lines", "path", "words"),
    [
        ([], "line 1", "empty"),
        (["{}"], "line 1", "name"),
        (["not json"], "line 1", "JSON"),
        ([make_head()], "line 1", "no example"),
        ([make_head(), "{}"], "line 2", "example_id"),
        ([make_head(), make_example(0, DATABASE), make_example(0, DATABASE)], "line 3", "stands on line 2"),
        ([make_head(), make_example(0, DATABASE, "handwritten")], "line 2", "split"),
        ([make_head(), make_example(0, "cd" * 32)], "line 2", "there is no database"),
        ([make_head(), make_example(0, "x")], "line 2", "no SHA-256"),
        ([make_head(), "", make_example(0, DATABASE), make_example(1, "cd" * 32)], "line 4", "two databases"),
    ],
)
def test_what_is_wrong_is_said_by_line(
    api: TestClient, backend: Backend, lines: list[Any], path: str, words: str
) -> None:
    answer = api.post("/v1/datasets", content=body(*lines) if lines else b"", headers=LINES)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_dataset"), problem
    assert any(fault["path"] == path and words in fault["message"] for fault in problem["errors"]), problem
    assert list(backend.objects.list("datasets/")) == []


def test_what_is_not_there_is_not_found(api: TestClient) -> None:
    for path in ("absent", "ABSENT", "absent/examples", "%2e%2e"):
        answer = api.get(f"/v1/datasets/{path}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    api.post("/v1/datasets", content=body(make_head(), *rows(1)), headers=LINES)
    unknown = api.get("/v1/datasets/singers", params={"version": "0" * 16})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "dataset_not_found")
    for path in ("/v1/datasets?after=x", "/v1/datasets/singers/examples?after=x"):
        assert api.get(path).json()["code"] == "unknown_cursor"
    wrong = api.post("/v1/datasets", content=b"x", headers={"Content-Type": "text/csv"})
    assert (wrong.status_code, wrong.json()["code"]) == (415, "unsupported_media_type")
