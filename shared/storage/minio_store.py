"""The object store of the cluster: MinIO or any S3 server, through the `minio` client."""

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from shared.contracts.base import ObjectRef
from shared.errors import InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.files import read_chunks, write_atomically
from shared.storage.keys import check_key, check_prefix, parents
from shared.storage.store import ObjectInfo

ABSENT = frozenset({"NoSuchKey", "NoSuchObject", "NotFound"})
DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"})
# MinIO's codes for a full disk and for a bucket's quota
NO_SPACE = frozenset({"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
SKEWED = "RequestTimeTooSkewed"
SKEW_S = 600.0  # S3 servers refuse signatures that are 15 minutes off
BUCKET_THERE = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
TRANSPORT = urllib3.Timeout(connect=5.0, read=60.0)  # seconds


class StoreDeniedError(SenseError):
    """The server answers and rejects the key."""

    code = "store_denied"


def _transport(secure: bool) -> urllib3.PoolManager:
    """The client's default waits five minutes for a dead host; a shard's lease is 30 s."""
    retries = urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
    certificates = "CERT_REQUIRED" if secure else "CERT_NONE"
    return urllib3.PoolManager(timeout=TRANSPORT, retries=retries, maxsize=16, cert_reqs=certificates)


def clock_skew_s(error: S3Error) -> float:
    """How far this machine's clock is from the server's: a rejection without a body does not name it as the cause."""
    date = error.response.headers.get("date") if error.response is not None else None
    try:
        return parsedate_to_datetime(date or "").timestamp() - time.time()
    except ValueError:
        return 0.0


class MinioStore:
    """Objects in one bucket, created on first use; the SHA-256 is kept as user metadata.

    Before a put, requests check that no key is a folder of another; two writers that put `a` and `a/b` at the same
    instant are not detected. Raises `UnavailableError` if the server does not answer, `StoreDeniedError` if it rejects
    the key.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        secure: bool = False,
        region: str = "us-east-1",
    ) -> None:
        self.endpoint, self.bucket = endpoint, bucket
        self._client = Minio(
            endpoint, access_key, secret_key, secure=secure, region=region, http_client=_transport(secure)
        )
        self._lock = Lock()
        self._bucket_made = False
        self._folders: set[str] = set()

    def put(self, key: str, data: bytes) -> ObjectRef:
        digest = hashlib.sha256(data).hexdigest()
        return self._upload(key, io.BytesIO(data), len(data), digest)

    def put_file(self, key: str, path: Path) -> ObjectRef:
        digest, size = hashlib.sha256(), 0
        for chunk in read_chunks(path):
            digest.update(chunk)
            size += len(chunk)
        with path.open("rb") as file:
            return self._upload(key, file, size, digest.hexdigest())

    def get(self, key: str) -> bytes:
        return b"".join(self.open_chunks(key))

    def get_file(self, key: str, path: Path) -> None:
        write_atomically(path, self.open_chunks(key))

    def open_chunks(self, key: str, size: int = 1 << 20) -> Iterator[bytes]:
        self._make_bucket()
        with self._server(check_key(key)), closing(self._client.get_object(self.bucket, key)) as response:
            yield from response.stream(size)
            # Back to the pool only after a complete read; an incomplete one is closed.
            response.release_conn()

    def exists(self, key: str) -> bool:
        self._make_bucket()
        try:
            with self._server(check_key(key)):
                self._client.stat_object(self.bucket, key)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        yield from (key for key, _ in self.marks(prefix))

    def marks(self, prefix: str) -> Iterator[tuple[str, str]]:
        self._make_bucket()
        with self._server(check_prefix(prefix)):
            listed = self._client.list_objects(self.bucket, prefix, recursive=True)
            found = [(item.object_name, f"{item.etag}-{item.last_modified}-{item.size}") for item in listed]
        # Not every S3 server lists in the order of whole keys.
        yield from sorted((name, mark) for name, mark in found if name and not name.endswith("/"))

    def entries(self, prefix: str) -> Iterator[ObjectInfo]:
        self._make_bucket()
        with self._server(check_prefix(prefix)):
            for item in self._client.list_objects(self.bucket, prefix, recursive=True):
                if item.object_name and not item.object_name.endswith("/") and item.last_modified is not None:
                    yield ObjectInfo(item.object_name, item.size or 0, item.last_modified.timestamp())

    def delete(self, key: str) -> None:
        self._make_bucket()
        with self._server(check_key(key)):
            self._client.remove_object(self.bucket, key)
        with self._lock:
            self._folders.clear()

    def _upload(self, key: str, data: BinaryIO, size: int, digest: str) -> ObjectRef:
        self._make_bucket()
        self._check_folders(check_key(key))
        with self._server(key):
            self._client.put_object(self.bucket, key, data, size, metadata={"sha256": digest})
        return ObjectRef(key=key, sha256=digest, size=size)

    def _check_folders(self, key: str) -> None:
        """Folders seen once are remembered until a delete, so that a put usually costs one extra request."""
        with self._server(key):
            below = next(iter(self._client.list_objects(self.bucket, f"{key}/", recursive=True)), None)
        if below is not None:
            raise InvalidInputError(f"object key {key!r} is a folder of other objects; rename one")
        for folder in parents(key):
            if folder in self._folders:
                continue
            if self.exists(folder):
                raise InvalidInputError(f"object key {key!r} lies below the object {folder!r}; rename one")
            with self._lock:
                self._folders.add(folder)

    def _make_bucket(self) -> None:
        with self._lock:
            if self._bucket_made:
                return
            with self._server(self.bucket):
                self._create_if_absent()
            self._bucket_made = True

    def _create_if_absent(self) -> None:
        try:
            if self._client.bucket_exists(self.bucket):
                return
        except S3Error as error:
            if error.code in DENIED and abs(clock_skew_s(error)) <= SKEW_S:
                return  # a user limited to some prefixes may not ask; the next call reports what is denied
            raise
        try:
            self._client.make_bucket(self.bucket)
        except S3Error as error:
            # Another process may have created it meanwhile.
            if error.code not in BUCKET_THERE:
                raise

    @contextmanager
    def _server(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            raise self._explain(error, key) from error
        except (ServerError, InvalidResponseError) as error:
            raise self._unavailable(type(error).__name__) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unavailable(type(error).__name__) from error

    def _explain(self, error: S3Error, key: str) -> SenseError:
        if error.code in ABSENT:
            return NotFoundError(f"object {key!r} does not exist in the store")
        if error.code == SKEWED or (error.code in DENIED and abs(clock_skew_s(error)) > SKEW_S):
            return UnavailableError(
                f"the clocks of this machine and of the object store at {self.endpoint} are too far apart "
                f"({error.code}); set both by a time server"
            )
        if error.code in DENIED:
            return StoreDeniedError(
                f"the object store at {self.endpoint} refuses the key for bucket {self.bucket!r} ({error.code}); "
                "check SENSE_STORE_ACCESS_KEY and SENSE_STORE_SECRET_KEY"
            )
        if error.code in NO_SPACE:
            return UnavailableError(
                f"no space left in the object store at {self.endpoint} ({error.code}); free some and retry the job"
            )
        return self._unavailable(error.code or "no code")

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"the object store at {self.endpoint} does not answer ({reason}); start it or check SENSE_STORE_ENDPOINT"
        )
