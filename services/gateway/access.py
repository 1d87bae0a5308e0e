"""Who may do what: a role for every method and address, asked before any route is looked for."""

import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from services.gateway.keys import KeyRing, StoredKey
from services.gateway.problems import problem, request_id, say_sense_error
from services.gateway.settings import GatewaySettings
from shared.client.models import KeyRole
from shared.errors import SenseError

RANK: Mapping[KeyRole, int] = {"read": 0, "submit": 1, "admin": 2}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC = re.compile(r"/|/healthz|/readyz|/favicon\.ico|/console(/.*)?")
ADMIN = re.compile(r"/v1/keys(/.*)?")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
BURST_S = 10.0


def needed_role(method: str, path: str) -> KeyRole | None:
    """None for what everyone may read: liveness, and the console's own files, which hold no data."""
    if method in SAFE and PUBLIC.fullmatch(path):
        return None
    if method == "DELETE" or ADMIN.fullmatch(path):
        return "admin"
    return "read" if method in SAFE else "submit"


class AccessError(SenseError):
    """A caller who may not."""

    def __init__(self, message: str, *, code: str, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, code=code)
        self.http_status = status
        self.headers = headers or {}


class Buckets:
    """A token bucket a key: `per_minute` calls on average, ten seconds' worth at once. Of one gateway process."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str, per_minute: int) -> float:
        """Takes one token and gives 0, or the seconds until there is one."""
        rate, now = per_minute / 60.0, time.monotonic()
        most = max(1.0, rate * BURST_S)
        left, then = self._left.get(name, (most, now))
        left = min(most, left + (now - then) * rate)
        if left < 1.0:
            self._left[name] = (left, now)
            return (1.0 - left) / rate
        self._left[name] = (left - 1.0, now)
        return 0.0


class AccessMiddleware:
    """Inside the request's id and log line, outside of the routes: what has no route is refused without a key too."""

    def __init__(self, app: ASGIApp, *, ring: KeyRing | None, settings: GatewaySettings) -> None:
        self.app, self.ring, self.settings = app, ring, settings
        self.buckets = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or self.ring is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = await self.admit(scope, self.ring)
        except AccessError as error:
            await refuse(request, error)(scope, receive, send)
            return
        except SenseError as error:
            await say_sense_error(request, error)(scope, receive, send)
            return
        with bound_contextvars(caller=caller):
            await self.app(scope, receive, send)

    async def admit(self, scope: Scope, ring: KeyRing) -> str:
        """The caller's name. Raises `AccessError`; `UnavailableError` where the keys cannot be read."""
        role = needed_role(scope["method"], scope["path"])
        if role is None:
            return "anyone"
        if ring.stale:
            await run_in_threadpool(ring.refresh)
        headers = Headers(scope=scope)
        if not ring.locked:
            if not ring.disabled:
                check_site(headers, scope["method"], self.settings)
            return "anyone"
        key = bearer(headers, ring)
        if RANK[key.role] < RANK[role]:
            raise AccessError(
                f"the key {key.name} has the role {key.role}; {scope['method']} {scope['path']} needs {role}",
                code="role_needed",
                status=403,
            )
        self.check_rate(key)
        return key.name

    def check_rate(self, key: StoredKey) -> None:
        """Raises `AccessError` (429) with the seconds to wait."""
        wait_s = self.buckets.wait_s(key.name, key.per_minute)
        if wait_s > 0:
            raise AccessError(
                f"the key {key.name} may call {key.per_minute} times a minute; wait {wait_s:.1f} s",
                code="rate_limited",
                status=429,
                headers={"Retry-After": str(int(wait_s) + 1)},
            )


def bearer(headers: Headers, ring: KeyRing) -> StoredKey:
    """The key that the caller shows. Raises `AccessError` (401)."""
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


def check_site(headers: Headers, method: str, settings: GatewaySettings) -> None:
    """Without keys the browser is the only guard: pages of other sites must reach nothing. Raises `AccessError` (403).

    The host has to be this machine's own name (else a page could rebind its name to this machine), and what changes
    something must not come from another origin.
    """
    host = headers.get("host", "")
    name = (urlsplit(f"//{host}").hostname or "") if host else ""
    if name not in LOOPBACK | settings.host_names:
        message = "without keys this gateway answers to its own machine's name only; set keys, or SENSE_GATEWAY_HOSTS"
        raise AccessError(message, code="host_refused", status=403)
    origin = headers.get("origin")
    if method not in SAFE and origin and origin not in settings.origins and urlsplit(origin).netloc != host:
        message = "without keys, pages of other sites may change nothing here; set keys, or SENSE_GATEWAY_CORS_ORIGINS"
        raise AccessError(message, code="origin_refused", status=403)


def refuse(request: Request, error: AccessError) -> ASGIApp:
    """The answer to a caller who may not."""
    return problem(
        status=error.http_status,
        code=error.code,
        detail=error.message,
        instance=request.url.path,
        request_id=request_id(request),
        headers=error.headers,
    )
