"""Databases and datasets go only while nothing names them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from shared.catalog.databases import SchemaCard, Upload, add_upload
from shared.contracts.spec import parse_spec
from shared.storage.keys import card_key, database_key
from tests.support.datasets import make_example, make_head

DATABASE = "ab" * 32
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def database(backend: Backend) -> None:
    backend.objects.put(card_key(DATABASE), SchemaCard(database_id=DATABASE, tables=[]).model_dump_json().encode())
    backend.objects.put(database_key(DATABASE), b"SQLite")
    add_upload(backend.objects, Upload(id=DATABASE, name="shop", size=6, created_at=1.0, tables=0))


def bring(api: TestClient, rows: int) -> str:
    lines = [make_head(), *(make_example(n, DATABASE) for n in range(rows))]
    answer = api.post("/v1/datasets", content="\n".join(one.model_dump_json() for one in lines), headers=LINES)
    return str(answer.json()["version"])


def test_an_unused_database_goes_and_a_built_one_stays(api: TestClient, backend: Backend) -> None:
    built = "cd" * 32
    backend.objects.put(card_key(built), SchemaCard(database_id=built, tables=[]).model_dump_json().encode())
    assert api.delete(f"/v1/databases/{built}").status_code == 404
    assert api.delete(f"/v1/databases/{DATABASE}").status_code == 204
    assert not backend.objects.exists(database_key(DATABASE))
    assert api.get("/v1/databases").json()["data"] == []
    assert api.get(f"/v1/databases/{DATABASE}").status_code == 404
    assert api.get(f"/v1/databases/{built}").status_code == 200


def test_what_a_data_set_holds_stays(api: TestClient, backend: Backend) -> None:
    bring(api, 3)
    refused = api.delete(f"/v1/databases/{DATABASE}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert "singers@" in refused.json()["detail"]
    assert api.delete("/v1/datasets/singers").status_code == 204
    assert api.delete(f"/v1/databases/{DATABASE}").status_code == 204


def test_one_version_or_all(api: TestClient, backend: Backend) -> None:
    old, new = bring(api, 2), bring(api, 3)
    assert api.delete(f"/v1/datasets/singers?version={old}").status_code == 204
    assert [one["version"] for one in api.get("/v1/datasets/singers").json()["versions"]] == [new]
    assert api.delete("/v1/datasets/singers").status_code == 204
    assert list(backend.objects.list("datasets/")) == []
    assert api.delete("/v1/datasets/singers").status_code == 404
    assert api.delete("/v1/datasets/Not-A-Name!").status_code == 404


def test_what_an_unfinished_job_reads_stays(api: TestClient, backend: Backend) -> None:
    bring(api, 2)
    spec = {"kind": "evaluation", "models": ["m"], "evaluate": [{"dataset": "singers"}]}
    job, _ = backend.jobs.submit(parse_spec(spec))
    refused = api.delete("/v1/datasets/singers")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert job in refused.json()["detail"]
    backend.jobs.end(job, "failed")
    assert api.delete("/v1/datasets/singers").status_code == 204


def test_a_longer_name_is_another_dataset(api: TestClient, backend: Backend) -> None:
    bring(api, 2)
    version = api.get("/v1/datasets/singers").json()["version"]
    for dataset in ("singers-train", "singers.v2", f"my-singers@{version}"):
        spec = {"kind": "evaluation", "models": ["singers"], "evaluate": [{"dataset": dataset}]}
        backend.jobs.submit(parse_spec(spec))
    assert api.delete("/v1/datasets/singers").status_code == 204


def test_a_job_uses_the_version_that_it_names(api: TestClient, backend: Backend) -> None:
    old, new = bring(api, 2), bring(api, 3)
    spec = {"kind": "synthesis", "train": {"sft": [{"dataset": f"singers@{new}"}]}}
    backend.jobs.submit(parse_spec(spec))
    assert api.delete(f"/v1/datasets/singers?version={new}").json()["code"] == "in_use"
    assert api.delete("/v1/datasets/singers").json()["code"] == "in_use"
    assert api.delete(f"/v1/datasets/singers?version={old}").status_code == 204


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "synthesis", "train": {"sft": [{"dataset": "singers"}]}},
        {"kind": "pairing", "train": {"sft": [{"synthesis": 8}], "pairs": [{"dataset": "singers"}]}},
        {"kind": "synthesis", "strong": {"endpoint": "e", "model": "m", "seeds": {"dataset": "singers"}}},
        {"kind": "pipeline", "evaluate": [{"dataset": "singers"}]},
    ],
)
def test_every_place_that_names_a_dataset_uses_it(api: TestClient, backend: Backend, spec: dict[str, Any]) -> None:
    bring(api, 2)
    backend.jobs.submit(parse_spec(spec))
    assert api.delete("/v1/datasets/singers").json()["code"] == "in_use"


def test_a_database_stays_while_a_job_writes_for_it(api: TestClient, backend: Backend) -> None:
    named = {"kind": "synthesis", "name": DATABASE}
    backend.jobs.submit(parse_spec({**named, "databases": [{"id": "cd" * 32}]}))
    backend.jobs.submit(parse_spec({"kind": "synthesis", "databases": [{"id": DATABASE}]}))
    assert api.delete(f"/v1/databases/{DATABASE}").json()["code"] == "in_use"


def test_a_name_like_a_database_uses_none(api: TestClient, backend: Backend) -> None:
    backend.jobs.submit(parse_spec({"kind": "synthesis", "name": DATABASE}))
    assert api.delete(f"/v1/databases/{DATABASE}").status_code == 204
