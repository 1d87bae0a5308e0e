"""What every request passes: a request id, bounds on its body, one log line, an answer to unhandled errors."""

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from services.gateway.http.access import ANYONE, Caller
from services.gateway.http.limits import ConcurrencyLimit, GatewayFullError
from services.gateway.http.problems import PROBLEMS, BodyTimeoutError, BodyTooLargeError
from services.gateway.settings import GatewaySettings
from shared.errors import LimitError
from shared.http.guard import UNSAFE_CHARACTERS
from shared.logging import get_logger

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
REQUESTS = Counter("sense_http_requests_total", "Requests by method, route and status", ["method", "route", "status"])
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
log = get_logger()


class RequestMiddleware:
    """Wraps the whole application. `larger` maps uploads, as (method, path), to the size of their largest body.

    `bodies` bounds how many bodies arrive at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: GatewaySettings,
        larger: Mapping[tuple[str, str], int],
        bodies: ConcurrencyLimit,
    ) -> None:
        self.app = app
        self.settings = settings
        self.larger = larger
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        own = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = own
        with bound_contextvars(request_id=own, caller="anyone"):
            if UNSAFE_CHARACTERS.search(scope["path"]) or not scope["query_string"].isascii():
                await refuse_invalid_address(scope, receive, TrackedSend(send, own))
            else:
                await self.answer(scope, receive, TrackedSend(send, own))

    async def answer(self, scope: Scope, receive: Receive, reply: "TrackedSend") -> None:
        began = time.monotonic()
        request = Request(scope, receive)
        try:
            upload = self.larger.get((scope["method"], scope["path"]))
            body = BoundedBody(scope, receive, self.settings, self.bodies, upload)
            with body.opened:
                await self.app(scope, body.receive, reply.send)
        except (BodyTooLargeError, BodyTimeoutError, LimitError, GatewayFullError) as error:
            # The response has begun, so no other can be sent: the server closes the connection.
            if reply.status:
                raise
            await PROBLEMS.respond_to(request, error)(scope, receive, reply.send)
        except ClientDisconnect:
            log.info("http.left", method=scope["method"], path=scope["path"])
        except Exception:
            log.exception("http.broken", method=scope["method"], path=scope["path"])
            if reply.status:
                raise
            reason = "the gateway failed at this request; its log has the reason under the request id"
            await PROBLEMS.respond(request, 500, "internal_error", reason)(scope, receive, reply.send)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            REQUESTS.labels(method_label(scope), route, str(reply.status)).inc()
            elapsed = round((time.monotonic() - began) * 1000, 1)
            log.info("http.request", method=scope["method"], path=scope["path"], status=reply.status, ms=elapsed)


def method_label(scope: Scope) -> str:
    """Maps unknown methods to one label, so that callers cannot create labels."""
    return str(scope["method"]) if scope["method"] in METHODS else "other"


async def refuse_invalid_address(scope: Scope, receive: Receive, reply: "TrackedSend") -> None:
    shown = UNSAFE_CHARACTERS.sub("?", scope["path"])
    message = f"the address {shown[:200]} has control characters or bytes that are not UTF-8; percent-encode it anew"
    answer = PROBLEMS.respond(Request(scope), 400, "invalid_address", message, instance=shown)
    await answer(scope, receive, reply.send)
    REQUESTS.labels(method_label(scope), "none", str(reply.status)).inc()
    log.info("http.request", method=scope["method"], path=shown, status=reply.status)


class CompressionMiddleware(GZipMiddleware):
    """Compresses responses that are read at once. Artifacts keep their length, streams their pace."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        as_is = scope["type"] == "http" and "/artifacts/" in scope["path"]
        await (self.app(scope, receive, send) if as_is else super().__call__(scope, receive, send))


class TrackedSend:
    def __init__(self, send: Send, request_id: str) -> None:
        self.pass_on = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            headers["X-Content-Type-Options"] = "nosniff"
        await self.pass_on(message)


class BoundedBody:
    """Bounds the size and time of a body. Raises `BodyTooLargeError` at once if the announced length is too large.

    Nothing is read from callers without access: the route identifies the caller before it reads the body.
    """

    def __init__(
        self, scope: Scope, receive: Receive, settings: GatewaySettings, bodies: ConcurrencyLimit, upload: int | None
    ) -> None:
        self.scope, self.pass_on, self.bodies = scope, receive, bodies
        self.opened = ExitStack()
        self.most = settings.max_body_bytes if upload is None else upload
        self.within_s = settings.body_s if upload is None else settings.upload_s
        self.silent_s = settings.silent_s
        self.began: float | None = None
        self.seen = 0
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "")
        # A request without a body takes no slot.
        self.whole = announced in ("", "0") and "transfer-encoding" not in headers
        # Refused before a byte is read; what is not announced is counted as it arrives.
        if announced.isdecimal():
            self.check(int(announced))

    async def receive(self) -> Message:
        """Raises `BodyTooLargeError`, `BodyTimeoutError`, or what the concurrency limit raises."""
        if self.whole:
            return await self.pass_on()
        # The slot is taken at the first read, when the route has identified the caller.
        if self.began is None:
            caller = self.scope["state"].get("caller")
            self.opened.enter_context(self.bodies.slot(caller if isinstance(caller, Caller) else ANYONE))
            self.began = time.monotonic()
        left = self.began + self.within_s - time.monotonic()
        try:
            # Two deadlines: one for the whole body, and one for a sender who falls silent.
            async with asyncio.timeout(min(left, self.silent_s)):
                message = await self.pass_on()
        except TimeoutError:
            waited = (
                f"nothing came for {self.silent_s:g} s" if left > self.silent_s else f"{self.within_s:g} s are over"
            )
            raise BodyTimeoutError(f"the body did not arrive: {waited}; send the request again") from None
        if message["type"] == "http.request":
            self.seen += len(message.get("body", b""))
            self.check(self.seen)
        if not message.get("more_body"):
            # The body is complete: its slot is free while the response is computed.
            self.whole = True
            self.opened.close()
        return message

    def check(self, size: int) -> None:
        if size > self.most:
            raise BodyTooLargeError(f"the body is above {self.most} bytes; send less")
