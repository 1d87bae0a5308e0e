"""Submitting: every fault at once, idempotency, what only the server knows."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from services.gateway.datasets.service import open_upload
from shared.catalog.databases import SchemaCard
from shared.jobs.finished import FinishedJobs
from shared.jobs.state import ErrorInfo
from shared.models.manifest import ModelManifest, publish_model
from shared.storage.keys import card_key
from tests.support.datasets import make_example, make_head
from tests.support.gateway import PLAN, SMALL_SPEC, Driver


@pytest.fixture(autouse=True)
def trained_models(backend: Backend, tmp_path: Path) -> None:
    """An adapter `p`, and full weights `whole`."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, mode in (("p", "lora"), ("whole", "full")):
        manifest = ModelManifest.model_validate(
            {
                **{"name": name, "base": "builtin:smollm2-135m", "parent": None, "method": "sft", "mode": mode},
                **{"job_id": "job1", "stage": "sft", "code_version": "0.1.0", "prompt_version": "p1", "files": {}},
                "data": {"key": "jobs/job1/collect/export/sft.jsonl", "sha256": "0" * 64, "size": 9},
            }
        )
        publish_model(backend.objects, folder, manifest)


def test_a_job_is_accepted_with_its_address(api: TestClient) -> None:
    answer = api.post("/v1/jobs", json=SMALL_SPEC, headers={"X-Request-ID": "req-7"})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["X-Request-ID"] == "req-7"
    assert (job["object"], job["status"], job["kind"], job["request_id"]) == ("job", "queued", "synthesis", "req-7")
    assert job["progress"] == {"done": 0, "total": 0, "failed": 0, "unit": "shards"}
    assert api.get(answer.headers["Location"]).json() == job


@pytest.mark.parametrize("kind", ["application/yaml", "application/x-yaml; charset=utf-8", "text/yaml"])
def test_yaml_is_read_too(api: TestClient, kind: str) -> None:
    body = "kind: synthesis\nname: from-yaml\ntrain: {sft: [{synthesis: 8}]}\n"
    answer = api.post("/v1/jobs", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 202
    assert answer.json()["spec"]["train"]["sft"][0]["synthesis"] == 8


def test_all_faults_come_at_once_with_their_paths(api: TestClient) -> None:
    spec = {
        "kind": "pipeline",
        "seed": -1,
        "nonsense": 1,
        "weak": {"samples": 1, "endpoint": "nowhere", "model": "m"},
        "strong": {"endpoint": "teacher", "model": "small"},
        "dpo": {"learning_rate": "fast"},
    }
    answer = api.post("/v1/jobs", json=spec)
    faults = {fault["path"]: fault["message"] for fault in answer.json()["errors"]}
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_spec"
    assert {"seed", "nonsense", "weak.samples", "weak.endpoint", "strong.model", "dpo.learning_rate"} <= set(faults)
    assert "engine, teacher" in faults["weak.endpoint"]
    assert "large" in faults["strong.model"]


def test_an_unknown_endpoint_alone_is_refused(api: TestClient, backend: Backend) -> None:
    answer = api.post("/v1/jobs", json={**SMALL_SPEC, "strong": {"endpoint": "openai", "model": "x"}})
    assert answer.status_code == 422
    assert "configured: engine, teacher" in answer.json()["detail"]
    assert backend.jobs.job_ids() == []


def test_data_must_be_a_succeeded_job_of_the_right_kind(api: TestClient, backend: Backend) -> None:
    done, open_, pairing = Driver(backend), Driver(backend), Driver(backend, kind="pairing")
    for driver in (done, pairing):
        driver.complete()
    dpo = {"kind": "dpo", "parent": "p"}
    cases = [
        ({"kind": "sft", "data": "job:absent"}, "no job absent"),
        ({"kind": "sft", "data": f"job:{open_.id}"}, "only a succeeded job"),
        ({**dpo, "data": f"job:{done.id}"}, "dpo needs pairing"),
    ]
    for spec, message in cases:
        answer = api.post("/v1/jobs", json=spec)
        assert answer.status_code == 422
        assert [fault["path"] for fault in answer.json()["errors"]] == ["data"]
        assert message in answer.json()["detail"]
    assert api.post("/v1/jobs", json={"kind": "sft", "data": f"job:{done.id}"}).status_code == 202
    assert api.post("/v1/jobs", json={**dpo, "data": f"job:{pairing.id}"}).status_code == 202
    assert api.post("/v1/jobs", json={"kind": "sft", "data": f"job:{done.id}:stage:write"}).status_code == 422


def leave(backend: Backend, driver: Driver) -> None:
    """Retention's way out of Redis."""
    for job_id, seen in backend.jobs.stale().items():
        backend.jobs.archived(job_id, seen)
    (ended,) = [one for one in FinishedJobs(backend.jobs).all() if one.id == driver.id]
    assert FinishedJobs(backend.jobs).forget(ended)
    assert driver.id not in backend.jobs.job_ids()


def test_an_archived_jobs_data_can_be_trained_on(api: TestClient, backend: Backend) -> None:
    done, failed, pairing = Driver(backend), Driver(backend), Driver(backend, kind="pairing")
    done.complete()
    pairing.complete()
    failed.end("failed", ErrorInfo(code="boom", message="no"))
    for driver in (done, failed, pairing):
        leave(backend, driver)
    assert api.post("/v1/jobs", json={"kind": "sft", "data": f"job:{done.id}"}).status_code == 202
    dpo = {"kind": "dpo", "parent": "p"}
    assert api.post("/v1/jobs", json={**dpo, "data": f"job:{pairing.id}"}).status_code == 202
    for spec, message in (
        ({"kind": "sft", "data": f"job:{failed.id}"}, "only a succeeded job"),
        ({**dpo, "data": f"job:{done.id}"}, "dpo needs pairing"),
    ):
        answer = api.post("/v1/jobs", json=spec)
        assert answer.status_code == 422 and message in answer.json()["detail"]


def test_an_idempotency_key_gives_an_archived_job_too(api: TestClient, backend: Backend) -> None:
    key = {"Idempotency-Key": "k"}
    first = api.post("/v1/jobs", json=SMALL_SPEC, headers=key)
    driver = Driver(backend)
    driver.id = first.json()["id"]
    backend.jobs.set_plan(driver.id, PLAN)
    driver.complete()
    leave(backend, driver)
    again = api.post("/v1/jobs", json=SMALL_SPEC, headers=key)
    assert (again.status_code, again.json()["id"], again.json()["archived"]) == (202, driver.id, True)
    assert again.headers["Idempotency-Replayed"] == "true"
    other = api.post("/v1/jobs", json={**SMALL_SPEC, "name": "other"}, headers=key)
    assert other.json()["code"] == "idempotency_mismatch"


def test_an_archive_of_another_version_is_shown_as_far_as_it_can_be_read(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    leave(backend, driver)
    key = f"jobs/{driver.id}/job.json"
    record = json.loads(backend.objects.get(key))
    record["job"]["mood"] = "a field of tomorrow"
    record["plan"]["stages"][0]["task"] = "synthesis.of_tomorrow"
    backend.objects.put(key, json.dumps(record).encode())
    answer = api.get(f"/v1/jobs/{driver.id}")
    assert answer.status_code == 200 and answer.json()["status"] == "succeeded"
    for data in (b"{", b"[]", b'{"job": {}}'):
        backend.objects.put(key, data)
        answer = api.get(f"/v1/jobs/{driver.id}")
        assert answer.status_code == 409 and answer.json()["code"] == "corrupt_object"


def test_an_idempotency_key_gives_the_same_job(api: TestClient, backend: Backend) -> None:
    first, second = (
        api.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "k1"})
        for spec in (SMALL_SPEC, {**SMALL_SPEC, "seed": 7})
    )
    assert second.status_code == 202
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    other = api.post("/v1/jobs", json={**SMALL_SPEC, "name": "other"}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(backend.jobs.job_ids()) == 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"kind": "synthesis", "seed": NaN}', "application/json"),
        (b'{"kind": "synthesis", "\\ud800": 1}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"[" * 100_000, "application/yaml"),
        (b"kind: [", "application/yaml"),
        (b"kind: synthesis\nkind: sft\n", "application/yaml"),
        (b"kind: synthesis\n---\nkind: sft\n", "application/yaml"),
        (b"kind: synthesis\nseed: .inf\n", "application/yaml"),
        (b"a: &a [1]\nb: [*a, *a]\n", "application/yaml"),
        (b"kind: !!python/object/apply:os.getcwd []", "application/yaml"),
        (b"", "application/yaml"),
    ],
)
def test_bodies_that_cannot_be_used_are_422(api: TestClient, content: bytes, kind: str) -> None:
    answer = api.post("/v1/jobs", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_form_is_not_a_spec(api: TestClient) -> None:
    answer = api.post("/v1/jobs", content=json.dumps(SMALL_SPEC), headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_body_above_the_limit_is_413(api: TestClient) -> None:
    announced = api.post("/v1/jobs", json={**SMALL_SPEC, "name": "x" * 1_000_001})
    streamed = api.post("/v1/jobs", content=iter([b" " * 600_000] * 2), headers={"Content-Type": "application/json"})
    for answer in (announced, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_data_sets_and_endpoints_of_models_are_looked_up(api: TestClient, backend: Backend) -> None:
    card = SchemaCard(database_id="ab" * 32, tables=[])
    backend.objects.put(card_key("ab" * 32), card.model_dump_json().encode())
    with open_upload(backend.objects) as intake:
        rows = [make_head().model_dump_json(), make_example(0, "ab" * 32, "train").model_dump_json()]
        intake.add("\n".join(rows).encode())
        intake.close()
    spec = {
        "kind": "pipeline",
        "train": {
            "sft": [{"dataset": "singers"}, {"dataset": "absent"}],
            "pairs": [{"dataset": "singers", "split": "dev"}],
        },
        "evaluate": [{"dataset": "builtin:held-out"}, {"dataset": "singers"}, {"dataset": "singers", "split": "train"}],
    }
    problem = api.post("/v1/jobs", json=spec).json()
    faults = {fault["path"]: fault["message"] for fault in problem["errors"]}
    assert set(faults) == {"train.sft.1.dataset", "train.pairs.0.split", "evaluate.1.dataset"}
    assert "it has train" in faults["evaluate.1.dataset"]
    models = [
        {"endpoint": "teacher", "model": "large"},
        {"endpoint": "teacher", "model": "small"},
        {"endpoint": "x", "model": "y"},
    ]
    problem = api.post("/v1/jobs", json={"kind": "evaluation", "models": models}).json()
    assert {fault["path"] for fault in problem["errors"]} == {"models.1.model", "models.2.endpoint"}
    good = {"kind": "evaluation", "models": models[:1], "evaluate": [{"dataset": "singers", "split": "train"}]}
    assert api.post("/v1/jobs", json=good).status_code == 202


def test_own_databases_and_seeds_are_looked_up(api: TestClient, backend: Backend) -> None:
    card = SchemaCard(database_id="ab" * 32, tables=[])
    backend.objects.put(card_key("ab" * 32), card.model_dump_json().encode())
    spec = {
        **SMALL_SPEC,
        "strong": {"endpoint": "teacher", "model": "large", "seeds": {"dataset": "absent"}},
        "databases": [{"id": "ab" * 32}, {"id": "cd" * 32}],
    }
    problem = api.post("/v1/jobs", json=spec).json()
    faults = {fault["path"]: fault["message"] for fault in problem["errors"]}
    assert set(faults) == {"strong.seeds.dataset", "databases.1.id"}
    assert "sense databases add" in faults["databases.1.id"]
    good = {**SMALL_SPEC, "databases": [{"id": "ab" * 32}]}
    assert api.post("/v1/jobs", json=good).status_code == 202


@pytest.mark.parametrize(
    ("spec", "path", "remedy"),
    [
        ({"kind": "pipeline", "sft": {"preset": "paper-lora"}}, "sft.preset", "gpu-7b-lora"),
        ({"kind": "pipeline", "dpo": {"preset": "sense-paper"}}, "(spec)", "student.method: full"),
        ({"kind": "pipeline", "sft": {"preset": "paper-lora"}, "strong": {"endpoint": "x", "model": "y"}}, None, "x"),
        ({"kind": "pipeline", "student": {"base": "builtin:smollm3"}}, "student.base", "builtin:smollm2-135m"),
        ({"kind": "pairing", "weak": {"base": "smollm2"}}, "weak.base", "org/name"),
        ({"kind": "pipeline", "student": {"base": "models/none"}}, "student.base", "sense models"),
        ({"kind": "pipeline", "student": {"base": "models/p"}}, "student.base", "builtin:smollm2-135m"),
        ({"kind": "evaluation", "models": ["p", "none"]}, "models.1", "sense models"),
        ({"kind": "deployment", "model": "none"}, "model", "sense models"),
        ({"kind": "deployment", "model": "No Name"}, "model", "sense models"),
        ({"kind": "synthesis", "train": {"sft": [{"levels": {"simple": 1}}]}}, "train.sft.0.levels.simple", "easy"),
        ({"kind": "pipeline", "sft": {"siblings_": 2}}, "sft.siblings_", "spelling"),
    ],
)
def test_what_is_known_is_checked_before_anything_is_paid_for(
    api: TestClient, backend: Backend, spec: dict[str, Any], path: str | None, remedy: str
) -> None:
    answer = api.post("/v1/jobs", json=spec)
    faults = {fault["path"]: fault["message"] for fault in answer.json()["errors"]}
    assert answer.status_code == 422 and backend.jobs.job_ids() == []
    assert set(faults) == {path} if path else {"sft.preset", "strong.endpoint"} == set(faults)
    assert any(remedy in message for message in faults.values())


def test_models_of_the_store_and_the_served_base_are_known(api: TestClient) -> None:
    for spec in (
        {"kind": "evaluation", "models": ["smollm2-135m", "p"]},
        {"kind": "evaluation", "models": ["org-base"], "student": {"base": "org/Org-Base"}},
        {"kind": "deployment", "model": "p"},
        {"kind": "deployment", "model": "gone", "serve": False},
        {"kind": "pipeline", "student": {"base": "models/whole"}},
        {"kind": "pipeline", "weak": {"endpoint": "teacher", "model": "large"}},
    ):
        answer = api.post("/v1/jobs", json=spec)
        assert answer.status_code == 202, answer.text
