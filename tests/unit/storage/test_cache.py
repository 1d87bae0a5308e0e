"""Local copies under a bound: real files, several processes, readers that are never disturbed."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.errors import NotFoundError, UnavailableError
from shared.storage.cache import LOCK_NAME, CacheSettings, evict, evict_folders, local_copy, local_folder
from shared.storage.directory import DirectoryStore

SIZE = 100_000
UNBOUND = CacheSettings(bytes=0)
SMALL = CacheSettings(bytes=3 * SIZE + 50_000, keep_s=0)
KEYS = [f"databases/{number}.sqlite" for number in range(8)]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "objects")
    for number, key in enumerate(KEYS):
        store.put(key, bytes([number]) * SIZE)
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK_NAME)


def age(path: Path, seconds: float) -> None:
    """As if it had been used that long ago."""
    os.utime(path, (time.time() - seconds, path.stat().st_mtime))


def test_a_copy_is_brought_once_and_read_only(store: DirectoryStore, folder: Path) -> None:
    path = local_copy(store, KEYS[1], folder, UNBOUND)
    before = path.stat()
    store.delete(KEYS[1])
    assert local_copy(store, KEYS[1], folder, UNBOUND) == path
    assert path.read_bytes() == b"\1" * SIZE
    assert path.stat().st_mode & 0o222 == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns  # readers tell files apart by it
    with pytest.raises(NotFoundError):
        local_copy(store, "databases/absent.sqlite", folder, UNBOUND)
    assert names(folder) == ["1.sqlite"]


def test_folders_of_models_are_bounded_and_none_in_use_goes(store: DirectoryStore, folder: Path) -> None:
    bound = CacheSettings(models_bytes=2 * SIZE + 50_000)
    for number in range(4):
        store.put(f"models/m{number}/weights.bin", bytes([number]) * SIZE)
        local_folder(store, f"models/m{number}", ["weights.bin"], folder / f"m{number}")
    assert evict_folders(folder, bound) == 0, "all were used within a day"
    for number in (0, 1, 2, 3):
        os.utime(folder / f"m{number}", (time.time() - 100_000 * (9 - number),) * 2)
    local_folder(store, "models/m0", ["weights.bin"], folder / "m0")  # used again
    assert evict_folders(folder, bound) == 2
    assert names(folder) == ["m0", "m3"]
    assert (
        local_folder(store, "models/m1", ["weights.bin"], folder / "m1") / "weights.bin"
    ).read_bytes() == b"\1" * SIZE


def test_the_least_recently_used_goes_first(store: DirectoryStore, folder: Path) -> None:
    for number in range(3):
        age(local_copy(store, KEYS[number], folder, UNBOUND), 100 - number)
    local_copy(store, KEYS[0], folder, SMALL)  # used again
    local_copy(store, KEYS[3], folder, SMALL)
    assert names(folder) == ["0.sqlite", "2.sqlite", "3.sqlite"]
    assert local_copy(store, KEYS[1], folder, SMALL).read_bytes() == b"\1" * SIZE  # found again by fetching again
    assert names(folder) == ["0.sqlite", "1.sqlite", "3.sqlite"]


def test_what_was_just_used_stays_whatever_the_bound_says(store: DirectoryStore, folder: Path) -> None:
    keep = CacheSettings(bytes=1, keep_s=60)
    paths = [local_copy(store, key, folder, keep) for key in KEYS]
    assert all(path.exists() for path in paths)
    for path in paths[:3]:
        age(path, 61)
    assert evict(folder, keep) == 3
    assert [path.exists() for path in paths] == [False] * 3 + [True] * 5


def test_zero_is_no_bound(store: DirectoryStore, folder: Path) -> None:
    for key in KEYS:
        age(local_copy(store, key, folder, UNBOUND), 1e6)
    assert evict(folder, UNBOUND) == 0
    assert len(names(folder)) == len(KEYS)


def test_files_being_written_are_no_copies_and_old_leftovers_go(store: DirectoryStore, folder: Path) -> None:
    local_copy(store, KEYS[0], folder, UNBOUND)
    fresh, old = folder / ".1.sqlite.abc", folder / ".2.sqlite.def"
    for path in (fresh, old):
        path.write_bytes(bytes(10 * SIZE))
    os.utime(old, (1.0, 1.0))
    assert evict(folder, SMALL) == 0
    assert [fresh.exists(), old.exists(), (folder / "0.sqlite").exists()] == [True, False, True]


def test_an_open_database_stays_readable_when_it_is_evicted(
    store: DirectoryStore, folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "real.sqlite"
    with sqlite3.connect(source) as made:
        made.execute("CREATE TABLE t(a)")
        made.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,) for _ in range(500)])
    made.close()
    store.put_file("databases/real.sqlite", source)
    path = local_copy(store, "databases/real.sqlite", folder, UNBOUND)
    reader = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    rows = iter(reader.execute("SELECT a FROM t"))
    assert next(rows) == ("x" * 1000,)
    age(path, 100)
    assert evict(folder, CacheSettings(bytes=1, keep_s=10)) == 1
    assert sum(1 for _ in rows) == 499
    reader.close()
    assert local_copy(store, "databases/real.sqlite", folder, UNBOUND).read_bytes() == source.read_bytes()


def test_a_copy_that_cannot_stay_is_an_error_not_a_loop(store: DirectoryStore, folder: Path) -> None:
    class Vanishing(DirectoryStore):
        """Its files are taken away by somebody else as soon as they are there."""

        def get_file(self, key: str, path: Path) -> None:
            super().get_file(key, path)
            path.unlink()

    with pytest.raises(UnavailableError, match="SENSE_CACHE_KEEP_S"):
        local_copy(Vanishing(store.root), KEYS[0], folder, SMALL)


WORKER = """
import random, sys, time
from pathlib import Path
from shared.storage.cache import local_copy
from shared.storage.directory import DirectoryStore
from shared.storage.cache import CacheSettings

root, folder, seed, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
store, bound, draw = DirectoryStore(root), CacheSettings(bytes=2 * size, keep_s=float(sys.argv[5])), random.Random(seed)
for _ in range(150):
    number = draw.randrange(8)
    for left in (2, 1, 0):  # a machine that stands still for longer than keep_s: the reader asks again
        path = local_copy(store, f"databases/{number}.sqlite", folder, bound)
        time.sleep(0.001)
        try:
            found = path.read_bytes()
            break
        except FileNotFoundError:
            assert left
    assert found == bytes([number]) * size, number
print("done")
"""


def test_two_processes_share_one_folder(store: DirectoryStore, folder: Path) -> None:
    """With a bound of two copies and eight in use, each process evicts what the other fetched, but not at once."""
    command = [sys.executable, "-c", WORKER, str(store.root), str(folder)]
    workers = [
        subprocess.Popen(
            [*command, str(seed), str(SIZE), "0.5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for seed in (1, 2)
    ]
    ended = [worker.communicate(timeout=60) for worker in workers]
    assert [out.split()[-1:] for out, _ in ended] == [["done"], ["done"]], [err for _, err in ended]
    assert not [name for name in names(folder) if name.startswith(".")]
    time.sleep(0.6)
    evict(folder, CacheSettings(bytes=2 * SIZE + 20_000, keep_s=0.5))
    assert len(names(folder)) == 2


def test_a_killed_process_blocks_nobody(store: DirectoryStore, folder: Path) -> None:
    folder.mkdir()
    held = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True)"
    held += "; time.sleep(99)"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(folder / LOCK_NAME)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    assert local_copy(store, KEYS[0], folder, SMALL).exists()
