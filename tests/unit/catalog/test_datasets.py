"""Stored datasets: names of examples, versions, splits."""

from pathlib import Path

import pytest

from shared.catalog.datasets import (
    choose_split,
    dataset_versions,
    example_id,
    find_dataset,
    newest_datasets,
    store_manifest,
)
from shared.contracts.base import ObjectRef
from shared.contracts.datasets import DatasetManifest
from shared.errors import InvalidInputError, NotFoundError
from shared.storage.directory import DirectoryStore
from shared.storage.records import CorruptObjectError
from tests.support.datasets import make_head


def manifest(name: str, version: str, created_at: float, **splits: int) -> DatasetManifest:
    return DatasetManifest(
        **dict(make_head(name)),
        version=version * 16,
        created_at=created_at,
        questions=sum(splits.values()),
        splits=splits,
        hardness={},
        databases={},
        examples=ObjectRef(key="datasets/x/y/examples.jsonl", sha256="0" * 64, size=0),
    )


def test_equal_questions_of_a_set_are_told_apart() -> None:
    parts = ("ab" * 32, "Who?", None, "SELECT 1")
    assert example_id(*parts) == example_id(*parts, copy=0)
    assert example_id(*parts, copy=1) != example_id(*parts)


def test_the_newest_version_is_meant_unless_one_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for one in (manifest("a", "1", 10, dev=3), manifest("a", "2", 20, dev=4), manifest("a-b", "3", 15, train=1)):
        assert store_manifest(store, one) == one
    assert [one.version[0] for one in dataset_versions(store, "a")] == ["2", "1"]
    assert [one.ref for one in newest_datasets(store)] == [f"a@{'2' * 16}", f"a-b@{'3' * 16}"]
    assert find_dataset(store, "a").questions == 4
    assert find_dataset(store, f"a@{'1' * 16}").questions == 3
    kept = store_manifest(store, manifest("a", "1", 99, dev=3))
    assert kept.created_at == 10, "a version is written once"
    for absent in ("b", f"a@{'9' * 16}"):
        with pytest.raises(NotFoundError):
            find_dataset(store, absent)
    for wrong in ("", "A", "a@x", "../a", "a/b"):
        with pytest.raises(InvalidInputError):
            find_dataset(store, wrong)
    store.put(f"datasets/c/{'1' * 16}/manifest.json", b"{}")
    with pytest.raises(CorruptObjectError):
        find_dataset(store, "c")


def test_a_split_is_there_or_those_there_are_are_named() -> None:
    both = manifest("a", "1", 1, train=2, test=3)
    assert choose_split(both, None, ("dev", "test")) == "test"
    assert choose_split(both, "train", ("dev", "test")) == "train"
    for asked, order in (("dev", ("dev",)), (None, ("dev",))):
        with pytest.raises(InvalidInputError, match="test, train"):
            choose_split(both, asked, order)
