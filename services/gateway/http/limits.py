"""What a key may use: ownership, open requests, job size, daily budgets, storage. Without keys nothing is counted."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request

from services.gateway.backend import Backend
from services.gateway.http.access import AccessError, Caller
from shared.catalog.databases import read_uploads
from shared.catalog.datasets import manifest_keys, read_manifest
from shared.contracts.base import Owner
from shared.contracts.spec import AnySpec, SynthesisSource
from shared.errors import LimitError, SenseError, UnavailableError
from shared.llm.budgets import set_day_limits, spent_today
from shared.llm.endpoints import ENGINE
from shared.logging import get_logger
from shared.redis import redis_errors
from shared.storage.keys import UPLOADS_PREFIX
from shared.storage.store import ObjectStore

STORED_S = 3600  # after this long the sum is computed again from the store
log = get_logger()
RAISE_LIMIT = "or have the key's limit raised"


class StorageError(LimitError):
    """The key's databases and datasets would take more space than it may use."""

    code = "stored_bytes"
    http_status = 403


class TooManyExamplesError(LimitError):
    """One job requests more examples than the key may."""

    code = "too_many_examples"
    http_status = 403


class DaySpentError(LimitError):
    """The key has used its daily budget, or the job may exceed what is left of it."""

    code = "day_spent"


class TooManyOpenError(LimitError):
    """The key has reached its limit of what may be open."""


class GatewayFullError(UnavailableError):
    """The gateway has reached its limit of what may be open."""


class ConcurrencyLimit:
    """Bounds how many of something are open at once, per key and in all. Per gateway process."""

    def __init__(self, what: str, code: str, *, each: int, total: int) -> None:
        self.what, self.code, self.each, self.total = what, code, each, total
        self._open: Counter[str] = Counter()
        self.sum = 0

    def check(self, caller: Caller) -> None:
        name = caller.id
        if name and self._open[name] >= self.each:
            raise TooManyOpenError(
                f"the key {caller.name} has {self.each} {self.what} open, and may have no more; close one, or have the "
                "server's limit raised",
                code=self.code,
            )
        if self.sum >= self.total:
            raise GatewayFullError(f"{self.total} {self.what} are open here; try again in a moment", code=self.code)

    @contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        self.check(caller)
        name = caller.id
        self._open[name] += 1
        self.sum += 1
        try:
            yield
        finally:
            self.sum -= 1
            self._open[name] -= 1
            if not self._open[name]:
                # Otherwise the counter would keep an entry for every key that ever called.
                del self._open[name]


def check_owner(caller: Caller, owner: Owner | None, what: str) -> None:
    if caller.role == "admin" or (owner is not None and owner.id == caller.id):
        return
    whose = f"the key {owner.name}" if owner else "no key"
    same = f" (the one with the id {owner.id}, not yours)" if owner and owner.name == caller.name else ""
    message = f"{what} belongs to {whose}{same}; ask that key's holder or an admin"
    raise AccessError(message, code="not_owner", status=403)


def check_job_limits(backend: Backend, caller: Caller, spec: AnySpec) -> None:
    limits = caller.limits
    if limits is None:
        return
    asked = count_requested_examples(spec)
    if limits.examples is not None and asked > limits.examples:
        raise TooManyExamplesError(
            f"the job asks for {asked} examples, and the key {caller.name} may ask for {limits.examples} at once; "
            f"ask for fewer, make more jobs, {RAISE_LIMIT} (sense keys change --examples, SENSE_GATEWAY_KEY_EXAMPLES)"
        )
    check_day_budget(backend, caller, spec.model_dump())


def check_day_budget(backend: Backend, caller: Caller, spec: dict[str, Any], *, again: bool = False) -> None:
    """Passes the caller's daily limits to the workers. Raises `DaySpentError` for a job above what is left.

    When a job runs `again`, it is unknown what it will still spend; then some of the budget has to be left.
    """
    limits = caller.limits
    if limits is None or not caller.id:
        return
    set_day_limits(backend.jobs, caller.id, tokens=limits.tokens_per_day, usd=limits.usd_per_day)
    asked = list(sections_on_operator_endpoints(spec))
    if not asked:
        return
    spent = spent_today(backend.jobs, caller.id)
    pairs = (
        ("budget_usd", "dollars", limits.usd_per_day, spent.usd),
        ("budget_tokens", "tokens", limits.tokens_per_day, spent.tokens),
    )
    for field, unit, most, used in pairs:
        if most is None:
            continue
        wanted = 0.0 if again else sum(float(part.get(field) or 0) for part in asked)
        if used >= most or wanted > most - used:
            rest = f"{max(0.0, most - used):g} of {most:g} {unit}"
            raise DaySpentError(
                f"the key {caller.name} has {rest} left today (UTC) for endpoints, and the job may spend "
                f"{f'{wanted:g}' if wanted else 'some'}; set a smaller {field}, wait for tomorrow, {RAISE_LIMIT}"
            )


def sections_on_operator_endpoints(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    models = spec.get("models")
    for part in (spec.get("strong"), spec.get("weak"), *(models if isinstance(models, list | tuple) else ())):
        if isinstance(part, dict) and part.get("endpoint") not in (None, ENGINE):
            yield part


def count_requested_examples(spec: AnySpec) -> int:
    train = getattr(spec, "train", None)
    if train is None:
        return 0
    follow = 1 + getattr(getattr(spec, "strong", None), "follow_errors", 0.0)
    sources = [*train.sft, *(train.pairs or [])]
    return round(sum(one.synthesis for one in sources if isinstance(one, SynthesisSource)) * follow)


def remaining_storage(backend: Backend, caller: Caller) -> int | None:
    """Bytes that the caller may still upload; None: no limit. Raises `StorageError` if none are left."""
    limits = caller.limits
    if limits is None or limits.stored_bytes is None or not caller.id:
        return None
    used = read_stored_bytes(backend, caller.id)
    if used >= limits.stored_bytes:
        raise make_storage_error(caller)
    return limits.stored_bytes - used


async def read_limited_body(request: Request, caller: Caller, rest: int | None) -> AsyncIterator[bytes]:
    """The body, up to `rest` bytes. Raises `StorageError`, before reading if the announced length exceeds it."""
    announced = request.headers.get("content-length", "")
    left = rest
    if left is not None and announced.isdecimal() and int(announced) > left:
        raise make_storage_error(caller)
    # The announced length may be missing or wrong, so arriving bytes are counted too.
    async for chunk in request.stream():
        if left is not None and (left := left - len(chunk)) < 0:
            raise make_storage_error(caller)
        yield chunk


def make_storage_error(caller: Caller) -> StorageError:
    most = caller.limits.stored_bytes if caller.limits else 0
    return StorageError(
        f"the key {caller.name} may store {most} bytes of databases and datasets, and this is more; remove some of "
        f"its own (sense databases remove, sense datasets remove), {RAISE_LIMIT} (sense keys change --stored-bytes)"
    )


def read_stored_bytes(backend: Backend, owner_id: str) -> int:
    place = backend.jobs.key("owner", owner_id, "stored")
    with redis_errors():
        found = backend.jobs.client.get(place)
    if found is not None:
        return max(0, int(found))
    used = sum(size for owner, size in walk_stored(backend.objects) if owner is not None and owner.id == owner_id)
    with redis_errors():
        backend.jobs.client.set(place, used, ex=STORED_S)
    return used


def walk_stored(objects: ObjectStore) -> Iterator[tuple[Owner | None, int]]:
    for key in objects.list(UPLOADS_PREFIX):
        with skip_damaged(key):
            upload = next(read_uploads(objects, [key]))
            yield upload.owner, upload.size
    for key in manifest_keys(objects):
        with skip_damaged(key):
            manifest = read_manifest(objects, key)
            yield manifest.owner, manifest.examples.size


@contextmanager
def skip_damaged(key: str) -> Iterator[None]:
    """A damaged record counts for nobody and blocks no upload."""
    try:
        yield
    except UnavailableError:
        raise
    except (SenseError, ValueError) as error:
        log.warning("stored.unreadable", record=key, error=str(error)[:200])


def count_stored(backend: Backend, owner: Owner | None, size: int | None) -> None:
    """Adds to the owner's sum; negative for a removal. With None, the sum is computed when it is next needed."""
    if owner is None:
        return
    place = backend.jobs.key("owner", owner.id, "stored")
    with redis_errors():
        if size is None:
            backend.jobs.client.delete(place)
            return
        pipe = backend.jobs.client.pipeline(transaction=True)
        pipe.incrby(place, size)
        pipe.ttl(place)
        if pipe.execute()[1] < 0:  # there was no sum to add to: what is here now is only a part of it
            backend.jobs.client.delete(place)
