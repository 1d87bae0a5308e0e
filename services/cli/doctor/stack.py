"""What the running stack says: Redis, object store, gateway, engine, sandbox, workers, keys, endpoints."""

import os
from collections.abc import Iterator
from uuid import uuid4

import httpx

from services.cli.doctor.findings import Finding
from services.cli.stack.config import DEFAULT_PORTS, StackFile, is_free, state_folder
from services.cli.stack.manager import running_stack
from services.cli.terminal import connect, gateway_url
from shared.errors import NotFoundError, SenseError

LOOK_S = 5.0
UP = "start the stack: sense up"


def stack() -> StackFile | None:
    """The embedded stack of this folder, where it runs."""
    return running_stack(state_folder())


def check_ports() -> Iterator[Finding]:
    """A port that is taken is no fault: the stack takes the next one, unless it was told which."""
    if stack() is not None:
        return
    taken = [f"{name} {port}" for name, port in DEFAULT_PORTS.items() if not is_free(port)]
    if taken:
        yield Finding("ports", "note", f"taken: {', '.join(taken)}", "sense up takes others; SENSE_PORT_… fixes them")
    else:
        yield Finding("ports", "ok", f"free: {', '.join(map(str, DEFAULT_PORTS.values()))}")


def check_redis() -> Iterator[Finding]:
    """The server's version and what keeps work safe: append-only file, no eviction."""
    from shared.redis import connect_redis
    from shared.settings import RedisSettings

    running = stack()
    if running is None and "SENSE_REDIS_URL" not in os.environ:
        yield Finding("Redis", "note", "no stack is up and SENSE_REDIS_URL is not set", UP)
        return
    settings = RedisSettings.model_validate({"url": running.redis_url}) if running else RedisSettings()
    client = connect_redis(settings)
    try:
        info = client.info()
    except Exception as error:
        yield Finding("Redis", "wrong", f"it does not answer: {error}", "check SENSE_REDIS_URL, or: sense status")
        return
    yield Finding("Redis", "ok", f"{info.get('redis_version')}, {info.get('used_memory_human')} used")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        yield Finding(
            "Redis", "wrong", f"maxmemory-policy is {policy}: jobs can vanish", "set maxmemory-policy noeviction"
        )
    if not info.get("aof_enabled"):
        yield Finding("Redis", "wrong", "no append-only file: a restart loses running jobs", "set appendonly yes")


def check_store() -> Iterator[Finding]:
    """Writes, reads and deletes one small object."""
    from shared.storage.open import StoreSettings, open_store

    running = stack()
    settings = StoreSettings()
    if running is not None:
        settings = settings.model_copy(update={"kind": "directory", "root": running.state / "objects"})
    elif settings.kind == "directory" and not settings.root.exists():
        yield Finding("object store", "note", f"there is no folder {settings.root} yet", UP)
        return
    objects, key, data = open_store(settings), f"doctor/{uuid4().hex}", b"sense"
    objects.put(key, data)
    same = objects.get(key) == data
    objects.delete(key)
    if same:
        yield Finding("object store", "ok", f"{settings.kind}: written, read, deleted")
    else:
        yield Finding("object store", "wrong", "it gave back other bytes than were written", "check the store's disk")


def check_gateway() -> Iterator[Finding]:
    """Readiness, and whether this shell's key is taken."""
    try:
        url = gateway_url(None)
    except SenseError as error:
        yield Finding("gateway", "note", error.message, UP)
        return
    try:
        answer = httpx.get(f"{url}/readyz", timeout=LOOK_S, trust_env=False)
    except httpx.HTTPError as error:
        yield Finding("gateway", "note", f"nothing answers at {url} ({type(error).__name__})", UP)
        return
    if answer.status_code != 200:
        yield Finding("gateway", "wrong", f"{url} is not ready: {answer.text[:200]}", "see: sense status")
        return
    yield Finding("gateway", "ok", f"ready at {url}")
    with connect(None) as client:
        try:
            keys = client.keys()
        except SenseError as error:
            grade = "note" if error.code == "role_needed" else "wrong"
            yield Finding("keys", grade, error.message)  # type: ignore[arg-type]
            return
        if keys:
            yield Finding("keys", "ok", f"{len(keys)} set: {', '.join(f'{key.name} ({key.role})' for key in keys)}")
        else:
            yield Finding("keys", "note", "none is set", "fine on this machine; else: sense keys add ME --role admin")
        try:
            yield Finding("engine", "ok", f"serves {', '.join(client.models()) or 'no model yet'}")
        except SenseError as error:
            yield Finding("engine", "wrong", error.message, "see: sense status")
        try:
            client.execute("0" * 64, "SELECT 1")
        except NotFoundError:
            yield Finding("sandbox service", "ok", "answers")
        except SenseError as error:
            yield Finding("sandbox service", "wrong", error.message, "see: sense status")


def check_workers() -> Iterator[Finding]:
    """Queues that nobody serves."""
    from services.cli.stack.readiness import silent_workers

    running = stack()
    if running is None:
        return
    silent = silent_workers(running)
    if silent:
        yield Finding("workers", "wrong", f"silent: {', '.join(silent)}", "see their logs: sense status")
    else:
        yield Finding("workers", "ok", "every queue has one")


def check_endpoints() -> Iterator[Finding]:
    """The operator's profiles, by name; nothing is called and no key is shown."""
    from shared.llm.endpoints import LlmSettings, load_profiles

    profiles = load_profiles(LlmSettings())
    if not profiles:
        yield Finding(
            "endpoints", "note", "none is set: the offline writer writes", "set OPENAI_API_KEY or SENSE_ENDPOINT_…"
        )
    for name, profile in profiles.items():
        keyed = "with a key" if profile.api_key else "without a key"
        yield Finding("endpoint", "ok", f"{name} at {profile.base_url}, {keyed}")
