"""What the gateway speaks to: job store, object store, engine, sandbox, and the endpoints that the operator named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event

import redis
from fastapi import Request
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.gateway.keys import KeySigner, open_signer
from services.gateway.settings import AuthSettings, GatewaySettings
from shared.errors import UnavailableError
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
    """Made once a process. `endpoints` are the profiles that a spec may name; `stopping` ends event streams."""

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
        """Asks once, without the patience of other calls. Raises `UnavailableError`."""
        retry = Retry(NoBackoff(), 0)
        with (
            redis_errors(),
            redis.Redis.from_url(
                self.redis_url, socket_timeout=PROBE_S, socket_connect_timeout=PROBE_S, retry=retry
            ) as client,
        ):
            client.ping()

    def probe_store(self) -> None:
        """Raises `UnavailableError`."""
        self.objects.exists("readyz")


def open_backend() -> Backend:
    """By this process's environment. Raises `InvalidInputError` for settings that cannot be used."""
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
    """The backend of the running application, for routes."""
    backend = request.app.state.backend
    if not isinstance(backend, Backend):
        raise UnavailableError("the gateway is still starting; try again in a second")
    return backend
