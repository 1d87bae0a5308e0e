"""Checkpoints on their way through the object store: whole ones only, thinned, from any worker."""

import json
import threading
from pathlib import Path

import pytest

from services.training.checkpoints import CheckpointStore, CheckpointUploader, newest_sealed, seal
from services.training.config import TrainConfig
from shared.contracts.base import ObjectRef
from shared.errors import UnavailableError
from shared.storage.directory import DirectoryStore


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects")


def store_of(objects: DirectoryStore, *, recipe: str = "r", writer: str = "1-a") -> CheckpointStore:
    return CheckpointStore(objects, "job", "sft", recipe=recipe, writer=writer)


def saved(config: TrainConfig, step: int, content: str = "weights", sealed: bool = True) -> None:
    """A checkpoint as the trainer leaves it, and the curve, which is already two steps further."""
    folder = config.out_dir / f"checkpoint-{step}"
    (folder / "deep").mkdir(parents=True)
    (folder / "adapter.safetensors").write_text(f"{content} {step}")
    (folder / "deep" / "rng.pth").write_text("rng")
    lines = [json.dumps({"step": one}) + "\n" for one in range(1, step + 3)]
    config.metrics_file.write_text("".join(lines))
    if sealed:
        seal(folder)


def upload_newest(config: TrainConfig, store: CheckpointStore, since: int = 0) -> tuple[bool, list[int]]:
    told: list[int] = []
    return CheckpointUploader(config, store, since=since, stored=told.append).upload_newest(), told


def test_a_checkpoint_goes_up_and_comes_back_elsewhere(
    sft_config: TrainConfig, objects: DirectoryStore, tmp_path: Path
) -> None:
    saved(sft_config, 10)
    sft_config.reference_file.write_text("[[1, 2]]")
    assert upload_newest(sft_config, store_of(objects)) == (True, [10])
    elsewhere = tmp_path / "elsewhere"
    assert store_of(objects, writer="2-b").restore(elsewhere) == 10
    assert newest_sealed(elsewhere) == (elsewhere / "checkpoint-10", 10)
    assert (elsewhere / "checkpoint-10/adapter.safetensors").read_text() == "weights 10"
    assert len((elsewhere / "metrics.jsonl").read_text().splitlines()) == 10
    assert (elsewhere / "reference.json").read_text() == "[[1, 2]]"
    assert not list(sft_config.out_dir.glob("uploading-*"))


def test_unsealed_and_known_ones_stay_where_they_are(sft_config: TrainConfig, objects: DirectoryStore) -> None:
    saved(sft_config, 10)
    saved(sft_config, 20, sealed=False)
    assert upload_newest(sft_config, store_of(objects)) == (True, [10])
    assert upload_newest(sft_config, store_of(objects), since=10) == (True, [])
    assert store_of(objects).steps() == {10}


def test_the_last_two_are_kept(sft_config: TrainConfig, objects: DirectoryStore, tmp_path: Path) -> None:
    store = store_of(objects)
    for step in (5, 10, 15, 20):
        saved(sft_config, step)
        assert upload_newest(sft_config, store) == (True, [step])
    assert store.steps() == {15, 20}
    store.prune(keep=0)
    assert store.steps() == set() and store.restore(tmp_path / "none") == 0


def test_damage_half_uploads_and_other_recipes_are_passed_over(
    sft_config: TrainConfig, objects: DirectoryStore, tmp_path: Path
) -> None:
    store = store_of(objects)
    for step in (5, 10):
        saved(sft_config, step)
        upload_newest(sft_config, store)
    objects.put("jobs/job/sft/checkpoint-99/3-c/adapter.safetensors", b"no manifest yet")
    assert store.restore(tmp_path / "a") == 10
    objects.put("jobs/job/sft/checkpoint-10/1-a/checkpoint-10/adapter.safetensors", b"other bytes")
    assert store.restore(tmp_path / "b") == 5
    assert newest_sealed(tmp_path / "b") == (tmp_path / "b/checkpoint-5", 5)
    objects.delete("jobs/job/sft/checkpoint-5/1-a/checkpoint-5/deep/rng.pth")
    assert store.restore(tmp_path / "c") == 0
    assert newest_sealed(tmp_path / "c") is None
    assert store_of(objects, recipe="other").restore(tmp_path / "d") == 0


def test_a_late_writer_of_the_same_step_spoils_nothing(
    sft_config: TrainConfig, objects: DirectoryStore, tmp_path: Path
) -> None:
    saved(sft_config, 10)
    upload_newest(sft_config, store_of(objects, writer="2-b"))
    objects.put("jobs/job/sft/checkpoint-10/1-a/checkpoint-10/adapter.safetensors", b"half of a late one")
    assert store_of(objects).restore(tmp_path / "a") == 10
    assert (tmp_path / "a/checkpoint-10/adapter.safetensors").read_text() == "weights 10"


class Away(DirectoryStore):
    """A store that does not answer for a while."""

    away = True

    def put_file(self, key: str, path: Path) -> ObjectRef:
        if self.away:
            raise UnavailableError("the store is away")
        return super().put_file(key, path)


def test_a_store_that_is_away_costs_nothing_but_time(sft_config: TrainConfig, tmp_path: Path) -> None:
    objects = Away(tmp_path / "objects")
    stored = threading.Event()
    uploader = CheckpointUploader(sft_config, store_of(objects), since=0, stored=lambda _: stored.set())
    saved(sft_config, 10)
    assert uploader.upload_newest() is False
    uploader.start()
    objects.away = False
    assert stored.wait(10)
    saved(sft_config, 20)
    uploader.close(keep=True)
    assert store_of(objects).steps() == {10, 20}


def test_who_lost_the_lease_writes_nothing_more(sft_config: TrainConfig, objects: DirectoryStore) -> None:
    uploader = CheckpointUploader(sft_config, store_of(objects), since=0, stored=lambda _: None)
    uploader.start()
    uploader.close(keep=False)
    saved(sft_config, 10)
    assert uploader.upload_newest() is False
    assert not objects.exists("jobs/job/sft/checkpoint-10/manifest.json")
