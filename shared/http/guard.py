"""Who may call our HTTP services: one check of Host, Origin and token for all of them.

A page in the user's browser reaches ports of this machine. It cannot control what the browser reports: Host (another
name, if the page's own name resolves to this machine), Origin and Sec-Fetch-Site. Programs report nothing about
themselves, so between our services a token does.
"""

import hmac
import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from shared.errors import InvalidInputError
from shared.settings import InternalSettings

if TYPE_CHECKING:  # workers and Flower run without starlette
    from starlette.types import ASGIApp, Receive, Scope, Send


class Headers(Protocol):
    """Headers of any framework, names in lower case."""

    def get(self, name: str, default: str, /) -> str: ...


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
# Control characters, line separators, surrogates, and the replacement character for invalid UTF-8.
UNSAFE_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd\ud800-\udfff]")
AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9](?:[a-z0-9._-]{0,252})))(?::[0-9]{1,5})?", re.I | re.A
)
ORIGIN = re.compile(r"https?://(?P<authority>[^/?#@\s]{1,300})", re.I | re.A)


def host_name(host: str) -> str | None:
    """Name or address of a Host header, lower case, without port and brackets; None if it is invalid."""
    found = AUTHORITY.fullmatch(host)
    return (found["v6"] or found["name"]).lower() if found else None


def is_own_host(host: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header can only come from a caller who means this server.

    A name can be made to resolve to this machine, an address cannot. 0.0.0.0 is no machine's address.
    """
    name = host_name(host)
    if name is None:
        return False
    if name in LOOPBACK_NAMES or name in names:
        return True
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def is_cross_site(method: str, headers: Headers, origins: Collection[str] = ()) -> bool:
    """Whether the browser says that a page of another site sends this, unless a person follows a link.

    Pages of `origins` are allowed.
    """
    origin = headers.get("origin", "")
    if origin and origin in origins:
        return False
    if origin:
        found = ORIGIN.fullmatch(origin)
        if found is None or found["authority"].lower() != headers.get("host", "").lower():
            return True
    if headers.get("sec-fetch-site", "") not in ("cross-site", "same-site"):
        return False
    # A person who follows a link navigates, and only with a safe method.
    return method not in SAFE_METHODS or headers.get("sec-fetch-mode", "") != "navigate"


def shows_token(headers: Headers, token: str) -> bool:
    """Compares the bearer token in constant time."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())


@dataclass(frozen=True)
class Guard:
    """The rules of one internal service. Without a token it serves the loopback only: see `check_bind_address`."""

    token: str | None = None
    names: frozenset[str] = frozenset()
    open_paths: frozenset[str] = frozenset({"/health", "/healthz", "/readyz"})  # probes have no token
    other_types: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by path: bodies other than JSON

    @classmethod
    def from_settings(cls, **more: Any) -> "Guard":
        settings = InternalSettings()
        return cls(token=settings.secret, names=settings.host_names, **more)

    def refusal(self, method: str, path: str, headers: Headers) -> "Refusal | None":
        """None if the request is allowed. `path` is compared whole: anything but an exact open path needs the token."""
        is_open = path in self.open_paths and method in SAFE_METHODS
        knows_token = self.token is not None and shows_token(headers, self.token)
        # Open paths are for probes, not for pages of other sites, so this check comes first.
        refusal = self.page_refusal(method, path, headers, any_host=knows_token)
        if refusal is not None or is_open:
            return refusal
        if self.token is not None and not knows_token:
            return Refusal(401, "token_needed", "send SENSE_INTERNAL_TOKEN as Authorization: Bearer TOKEN")
        return None if self.takes(method, path, headers) else WRONG_TYPE

    def page_refusal(self, method: str, path: str, headers: Headers, *, any_host: bool = False) -> "Refusal | None":
        """The checks on what a browser reports. `any_host`: the caller showed the token, which no page knows."""
        if UNSAFE_CHARACTERS.search(path):
            return Refusal(400, "invalid_address", "the path has control characters or bytes that are not UTF-8")
        if is_cross_site(method, headers):
            return Refusal(403, "origin_refused", "pages of other sites get nothing here")
        if not any_host and not is_own_host(headers.get("host", ""), self.names):
            return Refusal(403, "host_refused", "this service does not answer to that Host; see SENSE_INTERNAL_HOSTS")
        return None

    def takes(self, method: str, path: str, headers: Headers) -> bool:
        """Whether the body's type is one that a page cannot send to another origin without a preflight request."""
        if method not in ("POST", "PUT", "PATCH"):
            return True
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind == JSON_TYPE or kind in self.other_types.get(path, ())


@dataclass(frozen=True)
class Refusal:
    """Problem details, with OpenAI's `error` member beside them."""

    status: int
    code: str
    message: str

    def body(self) -> bytes:
        error = {"message": self.message, "type": "invalid_request_error", "param": None, "code": self.code}
        # A type only identifies a problem: no host can have a name under .invalid (RFC 2606).
        kind, title = f"https://sense.invalid/errors/{self.code}", HTTPStatus(self.status).phrase
        problem = {"type": kind, "title": title, "status": self.status, "detail": self.message, "code": self.code}
        return json.dumps({**problem, "error": error}).encode()

    def headers(self) -> list[tuple[str, str]]:
        ask = [("www-authenticate", 'Bearer realm="sense-internal"')] if self.status == 401 else []
        return [("content-type", PROBLEM_TYPE), ("content-length", str(len(self.body()))), *ask]


WRONG_TYPE = Refusal(415, "unsupported_media_type", f"the body has to be {JSON_TYPE}, and to say so in Content-Type")


class GuardMiddleware:
    """The outermost layer of an internal ASGI service."""

    def __init__(self, app: "ASGIApp", *, guard: Guard) -> None:
        self.app, self.guard = app, guard

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        refusal = self.guard.refusal(scope["method"], scope["path"], headers)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        told = [(name.encode(), value.encode()) for name, value in refusal.headers()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": told})
        await send({"type": "http.response.body", "body": refusal.body()})


def guard_wsgi(app: WSGIApplication, guard: Guard) -> WSGIApplication:
    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or name == "CONTENT_TYPE"
        }
        refusal = guard.refusal(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), headers)
        if refusal is None:
            return app(environ, start_response)
        start_response(f"{refusal.status} Refused", refusal.headers())
        return [refusal.body()]

    return guarded


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_bind_address(host: str, guard: Guard) -> None:
    if guard.token is None and not is_loopback(host):
        raise InvalidInputError(
            f"--host {host} would open this service to other machines without a token; set SENSE_INTERNAL_TOKEN "
            "(openssl rand -hex 32) for all services alike, or use 127.0.0.1"
        )
