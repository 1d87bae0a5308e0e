"""The serving task with a real engine: adapters on their base, full models alone, bases out of the store."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from services.serving.tasks import checked_folders, deploy_model, undeploy_model
from shared.contracts.base import ObjectRef
from shared.contracts.serving import DeployModel, UndeployModel
from shared.errors import InvalidInputError, NotFoundError, UnavailableError
from shared.models.bases import find_base
from shared.models.manifest import ModelManifest, publish_model
from shared.storage.directory import DirectoryStore
from tests.unit.serving.engine_process import EngineProcess

DATA = ObjectRef(key="jobs/j/collect.train/export/sft.jsonl", sha256="0" * 64, size=1)


def publish(objects: DirectoryStore, name: str, folder: Path, mode: str, base: str) -> None:
    manifest = ModelManifest(
        name=name,
        base=base,
        parent=None,
        method="sft",
        mode=mode,
        job_id="j",
        stage="sft",
        data=DATA,
        code_version="0",
        prompt_version="p",
        files={},
    )
    publish_model(objects, folder, manifest)


@pytest.fixture
def objects(tmp_path, tiny_llama, tiny_adapter, monkeypatch) -> DirectoryStore:
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "state"))
    store = DirectoryStore(tmp_path / "objects")
    publish(store, "tiny-full", tiny_llama, "full", "builtin:smollm2-135m")
    publish(store, "tiny-adapter", tiny_adapter, "lora", "models/tiny-full")
    return store


def deploy_command(model: str, base: str) -> DeployModel:
    return DeployModel(
        job_id="j", stage="deploy", shard=0, attempt=1, correlation_id="c", model=model, base=base, adapter=True
    )


def deploy(objects: DirectoryStore, model: str, base: str) -> None:
    deploy_model(deploy_command(model, base), SimpleNamespace(objects=objects))


def test_full_models_and_adapters_out_of_the_store_answer_under_their_names(
    objects, served: EngineProcess, monkeypatch
) -> None:
    monkeypatch.setenv("SENSE_ENGINE_URL", served.url)
    deploy(objects, "tiny-full", "builtin:smollm2-135m")
    deploy(objects, "tiny-adapter", "models/tiny-full")
    assert {"tiny-full", "tiny-adapter"} <= set(served.engine.models())
    full, adapted = (served.ask(name, "Which?") for name in ("tiny-full", "tiny-adapter"))
    assert full and adapted and full != adapted
    command = UndeployModel(job_id="j", stage="undeploy", shard=0, attempt=1, correlation_id="c", model="tiny-adapter")
    for undeployed in (1, 0):  # a repeated command finds nothing left to do
        assert undeploy_model(command, SimpleNamespace(objects=objects)).counts.undeployed == undeployed
    assert "tiny-adapter" not in served.engine.models()
    deploy(objects, "tiny-adapter", "models/tiny-full")
    assert served.ask("tiny-adapter", "Which?") == adapted


def test_what_is_no_base_is_refused_by_name(objects) -> None:
    with pytest.raises(InvalidInputError, match=r"models/tiny-adapter is an adapter.*models/tiny-full"):
        find_base(objects, "models/tiny-adapter")
    with pytest.raises(NotFoundError, match="no finished model nothing"):
        find_base(objects, "models/nothing")


def test_a_damaged_copy_is_not_served_and_is_brought_again(objects) -> None:
    command = deploy_command("tiny-full", "builtin:smollm2-135m")
    folder, _ = checked_folders(objects, command)
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UnavailableError, match=r"tiny-full is damaged at model\.safetensors"):
        checked_folders(objects, command)
    assert checked_folders(objects, command) == (folder, None)
