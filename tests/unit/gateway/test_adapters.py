"""Trained models over the gateway: listed, with lineage, deployed by a job."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from services.orchestrator.planning.compile import compile_spec
from shared.contracts.base import ObjectRef
from shared.contracts.spec import parse_spec
from shared.models.manifest import ModelManifest, publish_model


@pytest.fixture(autouse=True)
def models(backend: Backend, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"w" * 100)
    (folder / "adapter_config.json").write_bytes(b"{}")
    for name, parent in (("m-sft", None), ("m-dpo", "m-sft"), ("m-orphan", "m-gone")):
        manifest = ModelManifest(
            name=name,
            base="builtin:smollm2-135m",
            parent=parent,
            method=name.removeprefix("m-"),
            mode="lora",
            job_id="job1",
            stage=name.removeprefix("m-"),
            data=ObjectRef(key="jobs/job1/collect/export/sft.jsonl", sha256="0" * 64, size=9),
            code_version="0.1.0",
            prompt_version="p1",
            files={},
            facts={"steps": 3},
        )
        publish_model(backend.objects, folder, manifest)


def test_models_are_listed_by_name_in_pages(api: TestClient) -> None:
    first = api.get("/v1/adapters?limit=2").json()
    assert [one["id"] for one in first["data"]] == ["m-dpo", "m-orphan"]
    rest = api.get("/v1/adapters", params={"after": first["last_id"]}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (["m-sft"], False)
    assert api.get("/v1/adapters?after=x").json()["code"] == "unknown_cursor"


def test_a_model_leads_back_to_what_made_it(api: TestClient) -> None:
    shown = api.get("/v1/adapters/m-dpo").json()
    assert [one["name"] for one in shown["lineage"]] == ["m-dpo", "m-sft"]
    assert (shown["weight_bytes"], shown["facts"], shown["parent"]) == (100, {"steps": 3}, "m-sft")
    assert [one["name"] for one in api.get("/v1/adapters/m-orphan").json()["lineage"]] == ["m-orphan"]


def test_deploying_is_a_job(api: TestClient, backend: Backend) -> None:
    answer = api.post("/v1/adapters/m-dpo/deploy")
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], answer.headers["Location"]) == ("deployment", f"/v1/jobs/{job['id']}")
    spec = backend.jobs.job(job["id"]).spec
    assert (spec["model"], spec["student"]["base"]) == ("m-dpo", "builtin:smollm2-135m")


def test_taking_a_model_off_the_engine_is_a_job_that_waits_for_the_device(api: TestClient, backend: Backend) -> None:
    answer = api.post("/v1/adapters/m-dpo/undeploy")
    assert (answer.status_code, answer.json()["kind"]) == (202, "deployment")
    spec = parse_spec(backend.jobs.job(answer.json()["id"]).spec)
    (stage,) = compile_spec("job", spec, "cpu:0").stages
    assert (stage.task, stage.params["model"]) == ("serving.undeploy_model", "m-dpo")
    assert stage.device is not None and stage.device.hold == "shard"
    assert api.post("/v1/adapters/none/undeploy").json()["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2fb", "x" * 300])
def test_no_other_object_is_reached(api: TestClient, name: str) -> None:
    assert api.get(f"/v1/adapters/{name}").status_code == 404
