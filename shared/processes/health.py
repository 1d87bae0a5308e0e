"""What must hold before anything starts on a Redis and a store, and the sign of life that a container's check reads.

python -m shared.processes.health preflight     # exit 0, or one sentence per fault
python -m shared.processes.health alive [SECONDS]
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import redis

from shared.errors import ConflictError, NotFoundError, SenseError, UnavailableError
from shared.redis import RedisClient, connect_redis, redis_errors
from shared.settings import HealthSettings, RedisSettings
from shared.storage.open import StoreSettings, open_store
from shared.storage.store import ObjectStore

# The version of keys in Redis, of messages, and of objects in the store. Raise it when one version could misread what
# another one wrote: tests/contract/test_wire.py fails if a plan, command or record changes and this does not.
# 2: cancel and retry move a stage's sums before its shards (an older orchestrator would leave shards behind).
# 3: commands carry every stage that they read as a reference; records, keys and fields have the names of the glossary.
DATA_VERSION = 3
VERSION_KEY = "data-version"
RAISE_VERSION = """
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
"""
VERSION_OBJECT = "sense/data-version"
OLDEST_REDIS = (6, 2)  # for ZADD, XADD and XAUTOCLAIM as the scripts use them; tested with 7 and 8
ALIVE_S = 30.0  # the greatest age of the file that `touch_alive` touches


def touch_alive() -> None:
    """Touches the file of SENSE_HEALTH_ALIVE, if set; a container's health check reads its age."""
    path = HealthSettings().alive
    if path is not None:
        with suppress(OSError):
            path.touch()


def is_alive(within_s: float = ALIVE_S) -> bool:
    path = HealthSettings().alive
    try:
        return path is not None and time.time() - path.stat().st_mtime <= within_s
    except OSError:
        return False


def check_redis(client: RedisClient) -> None:
    """Raises `ConflictError` for a server that may lose work, `UnavailableError` for one that does not answer."""
    with redis_errors():
        info = client.info()
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise ConflictError(
            f"Redis is {version}; {'.'.join(map(str, OLDEST_REDIS))} is the oldest that works: upgrade it"
        )
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        raise ConflictError(f"Redis may evict keys (maxmemory-policy {policy}), jobs among them: set it to noeviction")
    if not info.get("aof_enabled"):
        raise ConflictError("Redis has no append-only file, so a restart loses running jobs: set appendonly yes")


def check_store(objects: ObjectStore) -> None:
    """Writes, reads and deletes one object. Raises the store's error, such as a wrong key, no bucket or no space."""
    key = f"sense/probe/{uuid4().hex}"
    objects.put(key, b"probe")
    if objects.get(key) != b"probe":
        raise UnavailableError("the object store gave back other bytes than were written; check its disks")
    objects.delete(key)


def check_data_version(client: RedisClient, prefix: str, objects: ObjectStore) -> None:
    """Marks Redis and the store with this data version, so that an older Sense refuses to start on them.

    Raises `ConflictError` if a newer Sense has written there.
    """
    with redis_errors():
        in_redis = int(client.get(f"{prefix}{VERSION_KEY}") or 0)
    try:
        in_store = int(objects.get(VERSION_OBJECT))
    except NotFoundError:
        in_store = 0
    for place, found in (("Redis", in_redis), ("the object store", in_store)):
        if found > DATA_VERSION:
            raise ConflictError(
                f"{place} holds data of a newer Sense (data version {found}; this one reads {DATA_VERSION}): "
                "start the newer version, or restore a backup made before the upgrade"
            )
    if in_store < DATA_VERSION:
        objects.put(VERSION_OBJECT, str(DATA_VERSION).encode())
    if in_redis < DATA_VERSION:
        with redis_errors():
            # a script, so that the higher version stays when two start at once
            client.eval(RAISE_VERSION, 1, f"{prefix}{VERSION_KEY}", DATA_VERSION)


def faults() -> Iterator[str]:
    settings = RedisSettings()
    client: RedisClient | None = None
    objects: ObjectStore | None = None
    try:
        client = connect_redis(settings)
        check_redis(client)
    except (SenseError, redis.RedisError) as error:
        yield f"Redis: {error}"
        client = None
    try:
        objects = open_store(StoreSettings())
        check_store(objects)
    except SenseError as error:
        yield f"object store: {error}"
        objects = None
    if client is not None and objects is not None:
        try:
            check_data_version(client, settings.prefix, objects)
        except SenseError as error:
            yield f"data: {error}"


def main(words: list[str]) -> int:
    if words[:1] == ["alive"]:
        return 0 if is_alive(float(words[1]) if len(words) > 1 else ALIVE_S) else 1
    if words != ["preflight"]:
        print(__doc__, file=sys.stderr)
        return 2
    found = list(faults())
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
