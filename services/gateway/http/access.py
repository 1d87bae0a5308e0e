"""Who may call what: every route declares the role that it needs, which is checked before anything is read."""

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from structlog.contextvars import bind_contextvars

from services.gateway.http.problems import PROBLEMS
from services.gateway.keys.service import KeyRing, StoredKey
from services.gateway.settings import GatewaySettings
from shared.api.resources import KeyLimits, KeyRole
from shared.contracts.base import Owner
from shared.errors import SenseError, UnavailableError
from shared.http.guard import is_cross_site, is_own_host
from shared.http.slots import CALLER_HEADER, CALLER_NAME_HEADER
from shared.parsing import check_json

ROLE_RANK: Mapping[KeyRole, int] = {"metrics": 0, "read": 1, "submit": 2, "admin": 3}
BURST_S = 10.0


@dataclass(frozen=True)
class Caller:
    """Who sends the request. `anyone` is everybody who reaches a gateway without keys, and may do everything.

    `id` is the key's, empty for `anyone`. `limits` is None where nothing is counted; otherwise all limits are set.
    """

    name: str
    role: KeyRole
    id: str = ""
    limits: KeyLimits | None = None

    @property
    def owner(self) -> Owner | None:
        return Owner(id=self.id, name=self.name) if self.id else None

    @property
    def headers(self) -> dict[str, str]:
        return {CALLER_HEADER: self.id, CALLER_NAME_HEADER: self.name} if self.id else {}


ANYONE = Caller("anyone", "admin")


class AccessError(SenseError):
    def __init__(self, message: str, *, code: str, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, code=code)
        self.http_status = status
        self.headers = headers or {}


class TokenBuckets:
    """One token bucket per key: `per_minute` calls on average, bursts of ten seconds. Per gateway process."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str, per_minute: int) -> float:
        """Takes a token and returns 0, or returns the seconds until there is one."""
        rate, now = per_minute / 60.0, time.monotonic()
        most = max(1.0, rate * BURST_S)
        left, then = self._left.get(name, (most, now))
        left = min(most, left + (now - then) * rate)
        if left < 1.0:
            self._left[name] = (left, now)
            return (1.0 - left) / rate
        self._left[name] = (left - 1.0, now)
        return 0.0


class AccessControl:
    """Keys, limits and settings of the application; `ring` is None where it can only describe itself."""

    def __init__(self, ring: KeyRing | None, settings: GatewaySettings) -> None:
        self.ring, self.settings = ring, settings
        self.buckets = TokenBuckets()

    async def identify(self, request: Request) -> Caller:
        """Raises `AccessError`; `UnavailableError` where the keys cannot be read."""
        if self.ring is None:
            return ANYONE
        # Reading keys calls Redis and the store, which would block the event loop.
        if self.ring.stale:
            await run_in_threadpool(self.ring.refresh)
        if not self.ring.locked:
            check_browser_origin(request.headers, request.method, self.settings)
            return ANYONE
        key = read_bearer_key(request.headers, self.ring)
        self.check_rate(key)
        return Caller(key.name, key.role, key.id, None if key.fixed else effective_limits(key, self.settings))

    def check_rate(self, key: StoredKey) -> None:
        wait_s = self.buckets.wait_s(key.id, key.per_minute)
        if wait_s > 0:
            raise AccessError(
                f"the key {key.name} may call {key.per_minute} times a minute; wait {wait_s:.1f} s",
                code="rate_limited",
                status=429,
                headers={"Retry-After": str(int(wait_s) + 1)},
            )


def effective_limits(key: StoredKey, settings: GatewaySettings) -> KeyLimits:
    own = key.limits.model_dump(exclude_none=True)
    return KeyLimits(**{name: getattr(settings, f"key_{name}") for name in KeyLimits.model_fields} | own)


async def find_caller(request: Request) -> Caller:
    """Identifies the caller once per request. Raises `AccessError`, `UnavailableError`."""
    known = getattr(request.state, "caller", None)
    if isinstance(known, Caller):
        return known
    access = getattr(request.app.state, "access", None)
    if not isinstance(access, AccessControl):
        raise UnavailableError("the gateway is still starting; try again in a second")
    caller = await access.identify(request)
    request.state.caller = caller
    bind_contextvars(caller=caller.name)
    return caller


CurrentCaller = Annotated[Caller, Depends(find_caller)]


@dataclass(frozen=True)
class RequiredRole:
    """The dependency with which a route declares its role. None: everybody may call it, without a key."""

    role: KeyRole | None

    async def __call__(self, request: Request) -> None:
        if self.role is None:
            return
        caller = await find_caller(request)
        if ROLE_RANK[caller.role] < ROLE_RANK[self.role]:
            raise AccessError(
                f"the key {caller.name} has the role {caller.role}; "
                f"{request.method} {request.scope['path']} needs {self.role}",
                code="role_needed",
                status=403,
            )


PUBLIC = [Depends(RequiredRole(None))]  # liveness, and the console's own files, which hold no data
METRICS = [Depends(RequiredRole("metrics"))]
READ = [Depends(RequiredRole("read"))]
SUBMIT = [Depends(RequiredRole("submit"))]
ADMIN = [Depends(RequiredRole("admin"))]


def find_required_role(dependencies: Iterable[Any]) -> RequiredRole:
    found = [one.dependency for one in dependencies if isinstance(one.dependency, RequiredRole)]
    if len(found) != 1:
        raise TypeError(f"a route declares one role, not {len(found)}: give it dependencies=READ, or another role's")
    return found[0]


class GuardedRoute(APIRoute):
    """A route that must declare a role, and that checks its JSON body off the event loop.

    FastAPI reads a body before it runs dependencies; here callers without access are refused before that. It also reads
    and validates bodies on the event loop, where a megabyte of wrong fields blocked it for seconds. So a body that
    holds more than any request needs is refused in a thread first.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        try:
            self.needs = find_required_role(given.get("dependencies") or ())
        except TypeError as error:
            raise TypeError(f"{path}: {error}") from None
        super().__init__(path, endpoint, **given)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            # First the role, then the body: callers without access cannot make the gateway read or parse anything.
            await self.needs(request)
            if self.body_field is not None:
                await run_in_threadpool(check_json, await request.body())
            return await handler(request)

        return guarded


def guarded_routes(app: FastAPI) -> list[GuardedRoute]:
    """Every route. Raises `TypeError` where one has no role, such as a mount or a plain Starlette route."""
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, GuardedRoute) or context.path != route.path:
            raise TypeError(f"the route {context.path} declares no role: see services.gateway.http.access.GuardedRoute")
        found.append(route)
    return found


def install_access_control(app: FastAPI, ring: KeyRing | None, settings: GatewaySettings) -> None:
    """Enforces the role that each route declares. Raises `TypeError` where a route declares none."""
    app.state.access = AccessControl(ring, settings)
    app.add_exception_handler(AccessError, handle_access_error)
    # Replaces the handler of `PROBLEMS`, which answers without asking for a key.
    app.add_exception_handler(HTTPException, handle_unrouted)
    guarded_routes(app)


async def handle_unrouted(request: Request, error: Exception) -> Response:
    """Asks for a key where no route matches: addresses and methods that do not exist have no role to check."""
    try:
        await find_caller(request)
    except AccessError as refused:
        return await handle_access_error(request, refused)
    except SenseError as broken:
        return PROBLEMS.respond_to(request, broken)
    return await PROBLEMS.handle_http_error(request, error)


def read_bearer_key(headers: Headers, ring: KeyRing) -> StoredKey:
    ask = {"WWW-Authenticate": 'Bearer realm="sense"'}
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        message = "this gateway needs a key: send Authorization: Bearer KEY, or set SENSE_API_KEY for the sense command"
        raise AccessError(message, code="key_missing", status=401, headers=ask)
    key = ring.find(text.strip())
    if key is None:
        message = "this key is not known here; it was removed, or it is another server's"
        raise AccessError(message, code="key_unknown", status=401, headers=ask)
    return key


def check_browser_origin(headers: Headers, method: str, settings: GatewaySettings) -> None:
    """Without keys, refuses pages of other sites; the browser is then the only guard. Raises `AccessError` (403).

    The host must be this machine's own name, as a page could let its own name point to this machine. The request must
    not come from a page of another origin.
    """
    if not is_own_host(headers.get("host", ""), settings.host_names):
        message = "without keys this gateway answers to its own machine's name only; set keys, or SENSE_GATEWAY_HOSTS"
        raise AccessError(message, code="host_refused", status=403)
    if is_cross_site(method, headers, settings.origins):
        message = "without keys, pages of other sites get nothing here; set keys, or SENSE_GATEWAY_CORS_ORIGINS"
        raise AccessError(message, code="origin_refused", status=403)


async def handle_access_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AccessError)
    return PROBLEMS.respond(request, error.http_status, error.code, error.message, headers=error.headers)
