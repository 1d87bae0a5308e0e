"""Slices read their part: on both stores, whatever the cut, with bounded memory, and never changed bytes."""

import hashlib
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.contracts.base import ObjectRef
from shared.contracts.records import Message
from shared.errors import NotFoundError
from shared.storage import records
from shared.storage.records import STRIDE, CorruptObjectError, dump_records, read_slice
from shared.storage.store import ObjectStore
from tests.contract.test_object_store import s3, store

__all__ = ["s3", "store"]
ROWS = 100_000


class Counted:
    """A store that says how many bytes it gave."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.given = store, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def open_chunks(self, key: str, size: int = 1 << 20) -> Iterator[bytes]:
        for chunk in self.store.open_chunks(key, size):
            self.given += len(chunk)
            yield chunk


def rows(count: int, size: int = 400) -> list[Message]:
    return [Message(role="user", content=f"{number} {'x' * (number % size)}\u2028é") for number in range(count)]


def read(store: object, refs: list[ObjectRef], offset: int, limit: int, folder: Path) -> list[Message]:
    return list(read_slice(store, refs, offset, limit, Message, folder))  # type: ignore[arg-type]


def test_few_rows_of_a_hundred_thousand(store: ObjectStore, tmp_path: Path) -> None:
    """The whole set was read and held for every 24 rows: 210 MB, and each time all bytes from the store."""
    wanted = rows(ROWS)
    ref, counted = store.put("jobs/j/s/0.1.examples.jsonl", dump_records(wanted)), Counted(store)
    assert ref.size > 4 * records.SMALL
    tracemalloc.start()
    for offset in (99_976, 0, 50_000, 12_345, 99_999, 63, 64, 65):
        assert read(counted, [ref], offset, 24, tmp_path / "rows") == wanted[offset : offset + 24]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted.given == ref.size, "once, for all slices"
    assert peak < 8 << 20, "a few chunks"
    assert read(counted, [ref], ROWS, 24, tmp_path / "rows") == []


@pytest.mark.parametrize("small", [0, 1 << 30])
def test_any_cut_of_any_objects(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(records, "SMALL", small)
    rng, everything, refs = random.Random(1), list[Message](), list[ObjectRef]()
    for number, count in enumerate([0, 1, STRIDE, STRIDE + 1, 0, 5 * STRIDE - 1]):
        some = rows(count)
        everything += some
        data = dump_records(some)
        refs.append(store.put(f"a/{number}.jsonl", data[:-1] if number % 2 else data))  # with and without a last end
    for _ in range(60):
        offset, limit = rng.randint(0, len(everything) + 3), rng.randint(0, 200)
        assert read(store, refs, offset, limit, tmp_path) == everything[offset : offset + limit]


@pytest.mark.parametrize("small", [0, 1 << 30])
def test_changed_bytes_are_noticed_even_outside_the_slice(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(records, "SMALL", small)
    data = dump_records(rows(500))
    ref = store.put("a/b.jsonl", data)
    store.put("a/b.jsonl", data.replace(b'"490 ', b'"491 '))
    for _ in range(2):
        with pytest.raises(CorruptObjectError, match="changed after it was recorded"):
            read(store, [ref], 0, 3, tmp_path)
    store.put("a/b.jsonl", data)
    assert len(read(store, [ref], 0, 3, tmp_path)) == 3, "nothing bad was kept"


def test_a_line_that_is_no_row_and_an_object_that_is_not_there(store: ObjectStore, tmp_path: Path) -> None:
    data = dump_records(rows(3)) + b'{"role": 1}\n' + b"x" * records.SMALL
    ref = store.put("a/c.jsonl", data)
    with pytest.raises(CorruptObjectError, match=r"a/c\.jsonl, line 4 is not a Message row"):
        read(store, [ref], 2, 3, tmp_path)
    gone = ObjectRef(key="a/gone.jsonl", sha256=hashlib.sha256(b"").hexdigest(), size=records.SMALL + 1)
    with pytest.raises(NotFoundError):
        read(store, [gone], 0, 1, tmp_path)


def test_a_disk_that_takes_no_copy_costs_time_only(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without a disk of its own, or a full one."""
    monkeypatch.setattr(records, "SMALL", 0)
    (tmp_path / "file").write_text("no folder can be made here")
    wanted = rows(500)
    ref = store.put("a/b.jsonl", dump_records(wanted))
    assert read(store, [ref, ref], 490, 20, tmp_path / "file" / "rows") == [*wanted[490:], *wanted[:10]]


def test_copies_are_bounded(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SMALL", 0)
    monkeypatch.setenv("SENSE_CACHE_RECORDS_BYTES", "300000")
    monkeypatch.setenv("SENSE_CACHE_KEEP_S", "0")
    for number in range(8):
        ref = store.put(f"a/{number}.jsonl", dump_records(rows(500 + number)))
        assert len(read(store, [ref], 10, 5, tmp_path / "rows")) == 5
    assert sum(path.stat().st_size for path in (tmp_path / "rows").glob("*.rows")) <= 300_000
