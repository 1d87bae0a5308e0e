"""What only the directory store does: a full disk, leftovers, syncing."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UnavailableError
from shared.storage.directory import DirectoryStore

FILL_A_SMALL_DISK = """
import sys
from pathlib import Path
from shared.errors import UnavailableError
from shared.storage.directory import DirectoryStore

store = DirectoryStore(Path(sys.argv[1]))
store.put("small", b"1")
try:
    store.put("large", b"x" * 4_000_000)
except UnavailableError as error:
    print(error.message)
    print(sorted(store.list("")), sorted(path.name for path in Path(sys.argv[1]).iterdir()))
    store.put("small", b"still works")
"""


def test_a_full_disk(tmp_path: Path) -> None:
    enter = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives no mount namespace to fill a small disk in")
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -c '{FILL_A_SMALL_DISK}' {tmp_path}"
    done = subprocess.run([*enter, "sh", "-c", mount], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sentence, state = done.stdout.splitlines()
    assert sentence == f"no space left in {tmp_path}; free some and retry the job"
    assert state == "['small'] ['small']"


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "no space left"), (errno.EIO, "cannot be used")])
def test_a_disk_that_fails_at_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a", b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(UnavailableError, match=words) as caught:
            store.put("a", b"new")
    assert caught.value.retryable
    assert store.get("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_put_syncs_file_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced, real = DirectoryStore(tmp_path), [], os.fsync

    def watch(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    store.put("a/b/c", b"1")
    assert synced[:2] == [tmp_path.name, "a"]
    assert synced[2].startswith(".sense-tmp-")
    assert synced[3:] == ["b"]


def test_leftovers_are_removed_by_age_and_never_listed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/b", b"1")
    old, young = tmp_path / "a" / ".sense-tmp-old", tmp_path / "a" / ".sense-tmp-young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert list(store.list("")) == ["a/b"]
    assert store.remove_leftovers(older_than_s=3_600) == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="cannot be used"):
        DirectoryStore(tmp_path / "file" / "root")


def test_a_failing_source_leaves_no_temporary(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    with pytest.raises(ValueError, match="source broke"):
        store._write("a/b", (chunk for chunk in [b"1", _break()]))
    assert list((tmp_path / "objects").rglob("*.*")) == []
    assert not store.exists("a/b")


def _break() -> bytes:
    raise ValueError("source broke")
