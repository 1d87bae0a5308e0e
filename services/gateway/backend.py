"""What the gateway calls: job store, object store, engine, sandbox, and the endpoints of the operator."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, Any

import httpx
import redis
from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.gateway.keys.service import KeySigner, open_signer
from services.gateway.settings import AuthSettings, GatewaySettings
from shared.errors import UnavailableError
from shared.http.client import open_service_client, response_timeout, sandbox_service
from shared.http.problems import read_request_id
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.llm.endpoints import EndpointProfile, LlmSettings, load_profiles
from shared.redis import connect_redis, redis_errors
from shared.settings import EngineSettings, PathSettings, RedisSettings, SandboxSettings, ServingSettings
from shared.storage.open import StoreSettings, open_store
from shared.storage.store import ObjectStore

PROBE_S = 2.0


@dataclass(frozen=True)
class Backend:
    """One per process. `endpoints` are the profiles that a spec may name; `stopping` ends event streams."""

    jobs: JobStore
    objects: ObjectStore
    board: WorkerRegistry
    redis_url: str
    engine_url: str
    endpoints: Mapping[str, EndpointProfile]
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    signer: KeySigner = field(default_factory=lambda: KeySigner(()))
    stopping: Event = field(default_factory=Event, repr=False)

    def probe_redis(self) -> None:
        """Pings once, without the retries of other calls. Raises `UnavailableError`."""
        retry = Retry(NoBackoff(), 0)
        with (
            redis_errors(),
            redis.Redis.from_url(
                self.redis_url, socket_timeout=PROBE_S, socket_connect_timeout=PROBE_S, retry=retry
            ) as client,
        ):
            client.ping()

    def probe_store(self) -> None:
        self.objects.exists("readyz")


def open_backend() -> Backend:
    settings = RedisSettings()
    client = connect_redis(settings)
    store, auth = StoreSettings(), AuthSettings()
    return Backend(
        jobs=JobStore(client, settings.prefix),
        objects=open_store(store),
        board=WorkerRegistry(client, settings.prefix),
        redis_url=settings.url.get_secret_value(),
        engine_url=EngineSettings().url.rstrip("/"),
        endpoints=load_profiles(LlmSettings()),
        auth=auth,
        signer=open_signer(auth, PathSettings().state, local=store.kind == "directory"),
    )


def get_backend(request: Request) -> Backend:
    backend = request.app.state.backend
    if not isinstance(backend, Backend):
        raise UnavailableError("the gateway is still starting; try again in a second")
    return backend


CurrentBackend = Annotated[Backend, Depends(get_backend)]


OVERHEAD_S = 30.0  # what a call may take beside its own budget: waiting for a slot, fetching the database
PIECE_BYTES = 65_536  # bytes of an answer that are compressed and sent at once
UPLOAD_STEPS = 3  # of an upload once it is there: check, describe, store; each may take `intake_timeout_s`


def open_sandbox_client(backend: Backend) -> httpx.AsyncClient:
    return open_service_client(sandbox_service(backend.sandbox.url), response_timeout(OVERHEAD_S), kept=16)


async def call_sandbox(request: Request, path: str, *, seconds: float, **options: Any) -> httpx.Response:
    """Posts to the sandbox. Raises `ServiceRefusedError`, or `UnavailableError` (code sandbox_unavailable)."""
    client: httpx.AsyncClient = request.app.state.sandbox
    headers = {"X-Request-ID": read_request_id(request) or "", **options.pop("headers", {})}
    call = client.post(path, headers=headers, timeout=response_timeout(seconds + OVERHEAD_S), **options)
    return await sandbox_service(get_backend(request).sandbox.url).answered(call)


def pass_through(content: bytes) -> Response:
    """Forwards an answer of our own service unparsed: parsing a large one again would block the event loop.

    Large answers go in pieces, so that other requests get a turn while each is compressed.
    """
    if len(content) <= PIECE_BYTES:
        return Response(content, media_type="application/json")

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(content), PIECE_BYTES):
            yield content[begin : begin + PIECE_BYTES]

    return StreamingResponse(pieces(), media_type="application/json")
