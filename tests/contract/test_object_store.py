"""One suite for both object stores; for MinIO's client it runs against a real S3 server."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio import Minio
from minio import time as minio_time

from shared.errors import InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.storage.directory import DirectoryStore
from shared.storage.minio_store import MinioStore
from shared.storage.store import ObjectStore
from tests.support.s3_server import S3Server, free_ports
from tests.support.store_proxy import StoreProxy

MakeStore = Callable[[], ObjectStore]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


def minio_store(
    server: S3Server, bucket: str, *, access_key: str = S3Server.access_key, secret_key: str = S3Server.secret_key
) -> MinioStore:
    return MinioStore(endpoint=server.endpoint, bucket=bucket, access_key=access_key, secret_key=secret_key)


@pytest.fixture(params=["directory", pytest.param("minio", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "objects")
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    return minio_store(request.getfixturevalue("s3"), f"test-{name}")


def test_put_gives_back_the_bytes_and_their_hash(store: ObjectStore) -> None:
    data = bytes(range(256)) * 5
    ref = store.put("a/b.bin", data)
    assert (ref.key, ref.sha256, ref.size) == ("a/b.bin", hashlib.sha256(data).hexdigest(), len(data))
    assert store.get("a/b.bin") == data


def test_empty_object(store: ObjectStore) -> None:
    assert store.put("empty", b"").size == 0
    assert store.get("empty") == b""
    assert list(store.open_chunks("empty")) == []


def test_put_replaces(store: ObjectStore) -> None:
    store.put("a", b"a longer first text")
    store.put("a", b"second")
    assert store.get("a") == b"second"
    assert list(store.list("")) == ["a"]


def test_files_in_and_out_in_chunks(store: ObjectStore, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(7_000_001)
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(data)
    ref = store.put_file("models/m/weights.bin", source)
    assert (ref.sha256, ref.size) == (hashlib.sha256(data).hexdigest(), len(data))
    store.get_file("models/m/weights.bin", target)
    assert target.read_bytes() == data
    chunks = list(store.open_chunks("models/m/weights.bin", size=1 << 16))
    assert b"".join(chunks) == data
    assert max(len(chunk) for chunk in chunks) <= 1 << 16


def test_get_file_leaves_the_target_alone_when_the_key_is_absent(store: ObjectStore, tmp_path: Path) -> None:
    target = tmp_path / "target.bin"
    target.write_bytes(b"old")
    with pytest.raises(NotFoundError):
        store.get_file("absent", target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.glob("*target*")] == ["target.bin"]


def test_put_file_of_an_absent_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.bin"):
        store.put_file("a", tmp_path / "absent.bin")
    assert not store.exists("a")


@pytest.mark.parametrize("key", ["absent", "folder/absent", "folder", "folder/a/below"])
def test_absent_keys(store: ObjectStore, key: str) -> None:
    store.put("folder/a", b"1")
    assert not store.exists(key)
    with pytest.raises(NotFoundError, match=key):
        store.get(key)
    with pytest.raises(NotFoundError):
        list(store.open_chunks(key))
    store.delete(key)
    assert store.exists("folder/a")


def test_delete_frees_the_key_and_its_folders(store: ObjectStore) -> None:
    store.put("a/b/c", b"1")
    store.delete("a/b/c")
    assert not store.exists("a/b/c")
    assert list(store.list("")) == []
    store.put("a", b"now an object")
    assert store.get("a") == b"now an object"


def test_entries_say_size_and_age(store: ObjectStore) -> None:
    before = time.time()
    store.put("a/one", b"1")
    store.put("a/b/two", b"22")
    store.put("c", b"333")
    found = {one.key: one for one in store.entries("a/")}
    assert {key: one.size for key, one in found.items()} == {"a/one": 1, "a/b/two": 2}
    assert all(before - 5 <= one.modified <= time.time() + 5 for one in found.values())
    store.put("a/one", b"anew")
    assert next(store.entries("a/one")).size == 4
    assert len(list(store.entries(""))) == 3 and list(store.entries("none/")) == []


def test_list_is_in_the_order_of_whole_keys(store: ObjectStore) -> None:
    keys = ["a-b", "a.txt", "a/b", "a/b.c", "a/c/d", "a0", "b/ä", "b/z", "ab/c"]
    for key in random.Random(1).sample(keys, len(keys)):
        store.put(key, key.encode())
    assert list(store.list("")) == sorted(keys)
    assert list(store.list("a/")) == ["a/b", "a/b.c", "a/c/d"]
    assert list(store.list("a/b")) == ["a/b", "a/b.c"]
    assert list(store.list("a/c/d")) == ["a/c/d"]
    assert list(store.list("none/")) == []
    assert list(store.list("a")) == [key for key in sorted(keys) if key.startswith("a")]


def test_a_mark_changes_with_the_content_and_with_nothing_else(store: ObjectStore) -> None:
    for key in ("marks/a", "marks/b", "other/c"):
        store.put(key, b"first")
    before = dict(store.marks("marks/"))
    assert list(before) == ["marks/a", "marks/b"]
    assert store.get("marks/a") == b"first"
    assert dict(store.marks("marks/")) == before
    store.put("marks/a", b"later")  # of the same length, within the same second
    after = dict(store.marks("marks/"))
    assert after["marks/a"] != before["marks/a"]
    assert after["marks/b"] == before["marks/b"]
    store.delete("marks/b")
    assert list(store.marks("marks/")) == [("marks/a", after["marks/a"])]


def test_more_keys_than_a_page_of_s3(store: ObjectStore) -> None:
    keys = [f"many/{number:04d}" for number in range(1_050)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    assert list(store.list("many/")) == keys


def test_no_key_is_a_folder_of_another(store: ObjectStore) -> None:
    store.put("a/b", b"1")
    store.put("x", b"1")
    for key in ("a", "x/y", "x/y/z"):
        with pytest.raises(InvalidInputError, match="rename one"):
            store.put(key, b"2")
    assert list(store.list("")) == ["a/b", "x"]


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\nb", "a\x00b", "a\\b", "a/" + "x" * 201, ".sense-tmp-1"],
)
def test_forbidden_keys(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidInputError):
        store.put(key, b"1")
    with pytest.raises(InvalidInputError):
        store.get(key)


@pytest.mark.parametrize("key", ["jobs/j-1/sft.weak/0.1.jsonl", "a b/c+d=e&f?g#h%20", "ü/日本語", "x" * 200, "a/'\"*?"])
def test_allowed_keys(store: ObjectStore, key: str) -> None:
    store.put(key, key.encode())
    assert store.get(key) == key.encode()
    assert list(store.list("")) == [key]


@pytest.mark.parametrize("prefix", ["../", "/", "a//b", "a\n"])
def test_forbidden_prefixes(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidInputError):
        list(store.list(prefix))


def test_writers_of_one_key_leave_one_whole_object(store: ObjectStore) -> None:
    texts = [bytes([65 + number]) * 200_000 for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: store.put("race/one", text), texts))
    assert store.get("race/one") in texts
    assert list(store.list("")) == ["race/one"]


KILLED_WRITER = """
import sys
from pathlib import Path
from shared.storage.directory import DirectoryStore

store, data = DirectoryStore(Path(sys.argv[1])), b"x" * 3_000_000
print("ready", flush=True)
number = 0
while True:
    store.put(f"job/{number % 50}.bin", data)
    number += 1
"""


def test_a_killed_put_leaves_nothing_listed(tmp_path: Path) -> None:
    rng, leftovers = random.Random(11), 0
    for _ in range(6):
        command = [sys.executable, "-c", KILLED_WRITER, str(tmp_path)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        leftovers += len(list(tmp_path.rglob(".sense-tmp-*")))
        store = DirectoryStore(tmp_path)
        for key in store.list(""):
            assert key.endswith(".bin")
            assert len(store.get(key)) == 3_000_000
    store.remove_leftovers(older_than_s=0.0)
    assert not list(tmp_path.rglob(".sense-tmp-*"))
    assert leftovers > 0, "no kill fell inside a put: the test proved nothing"


@pytest.mark.stack
def test_a_wrong_key_is_refused_and_not_printed(s3: S3Server) -> None:
    wrong_secret = minio_store(s3, "denied", secret_key="wrong-secret-value")
    for store in (wrong_secret, minio_store(s3, "denied", access_key="nobody")):
        with pytest.raises(SenseError, match="SENSE_STORE_ACCESS_KEY") as caught:
            store.put("a", b"1")
        assert caught.value.code == "store_denied"
        assert "wrong-secret-value" not in caught.value.message


@pytest.mark.stack
def test_an_absent_server_is_named() -> None:
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    store = MinioStore(endpoint=endpoint, access_key="a", secret_key="b" * 8, bucket="sense")
    for call in (lambda: store.put("a", b"1"), lambda: store.get("a"), lambda: list(store.list(""))):
        with pytest.raises(UnavailableError, match=endpoint):
            call()


@pytest.mark.stack
def test_the_hash_travels_as_metadata(s3: S3Server) -> None:
    store = minio_store(s3, "signed")
    ref = store.put("reports/j/eval.html", b"<p>scores</p>")
    client = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    assert (client.stat_object(store.bucket, ref.key).metadata or {})["x-amz-meta-sha256"] == ref.sha256


@pytest.mark.stack
def test_a_full_s3_store_is_told_and_can_be_read(s3: S3Server) -> None:
    with StoreProxy(s3.endpoint) as proxy:
        store = MinioStore(
            endpoint=proxy.endpoint, bucket="test-full", access_key=s3.access_key, secret_key=s3.secret_key
        )
        store.put("a", b"before")
        with proxy.fault("full"):
            with pytest.raises(UnavailableError, match=r"no space left in the object store at .*XMinioStorageFull"):
                store.put("b", b"x" * 300_000)
            assert (store.get("a"), list(store.list(""))) == (b"before", ["a"])
            store.delete("a")
        store.put("b", b"after")
        assert list(store.list("")) == ["b"]


@pytest.mark.stack
@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_hours_off_is_named_and_tried_again(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A refusal of HEAD has no body, so it looks like a wrong key: only the server's date says what it is."""
    store, wall = minio_store(s3, "test-skew"), time.time
    store.put("a", b"before")
    later = datetime.now(UTC) + timedelta(hours=hours)
    monkeypatch.setattr(minio_time, "utcnow", lambda: later)
    monkeypatch.setattr(time, "time", lambda: wall() + hours * 3600)
    for step in (lambda: store.exists("a"), lambda: store.get("a"), lambda: store.put("b", b"x")):
        with pytest.raises(UnavailableError, match="clocks of this machine"):
            step()
    monkeypatch.undo()
    assert store.get("a") == b"before"
