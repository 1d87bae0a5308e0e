"""How our services call each other over HTTP: refusals and silence become our errors."""

from collections.abc import Awaitable
from dataclasses import dataclass

import httpx

from shared.errors import SenseError, UnavailableError
from shared.settings import InternalSettings

CONNECT_S = 5.0


class ServiceRefusedError(SenseError):
    """An error response of an internal service, with its code, message and status."""

    def __init__(self, service: "Service", answer: httpx.Response) -> None:
        try:
            problem = answer.json()
            code, message = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            code = f"{service.short}_error"
            message = f"{service.name} answered {answer.status_code} without saying why"
        super().__init__(message, code=code, retryable=answer.status_code == 503)
        self.http_status = answer.status_code


@dataclass(frozen=True)
class Service:
    """An internal service: its name in messages, the prefix of its error codes, and its address."""

    name: str
    short: str
    url: str

    @property
    def root(self) -> str:
        return self.url.rstrip("/")

    async def answered(self, call: Awaitable[httpx.Response]) -> httpx.Response:
        """The successful response. Raises `ServiceRefusedError`, or `UnavailableError` (code SHORT_unavailable)."""
        try:
            return self.good(await call)
        except httpx.HTTPError as error:
            raise self.silent(error) from error

    def good(self, answer: httpx.Response) -> httpx.Response:
        """Raises `ServiceRefusedError` for an error response, `UnavailableError` if the token is wrong."""
        if answer.status_code == 401:
            message = f"{self.name} at {self.url} does not know this process: SENSE_INTERNAL_TOKEN is another one there"
            raise UnavailableError(message, code=f"{self.short}_unavailable")
        if answer.is_error:
            raise ServiceRefusedError(self, answer)
        return answer

    def silent(self, error: httpx.HTTPError) -> UnavailableError:
        message = f"{self.name} at {self.url} does not answer ({type(error).__name__}); see: sense status"
        return UnavailableError(message, code=f"{self.short}_unavailable")


def internal_headers() -> dict[str, str]:
    token = InternalSettings().secret
    return {"Authorization": f"Bearer {token}"} if token else {}


def sandbox_service(url: str) -> Service:
    return Service("the sandbox", "sandbox", url)


def serving_service(url: str) -> Service:
    return Service("the serving service", "serving", url)


def response_timeout(seconds: float) -> httpx.Timeout:
    """Allows `seconds` of silence, but only `CONNECT_S` to connect."""
    return httpx.Timeout(seconds, connect=CONNECT_S)


def open_service_client(service: Service, timeout: httpx.Timeout, *, kept: int) -> httpx.AsyncClient:
    """Opens one client per process, with up to `kept` idle connections. It uses no proxy: the service is ours."""
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=kept)
    return httpx.AsyncClient(
        base_url=service.root, headers=internal_headers(), limits=limits, timeout=timeout, trust_env=False
    )
