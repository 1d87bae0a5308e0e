"""One HTTP call to a chat endpoint, without retries: an answer, or an error that names the cause.

Parameters that a server rejects by name are learned and left out of later calls of this process: OpenAI's reasoning
models reject any temperature but their own and the name `max_tokens`, others reject `seed` or `n`, or return one choice
whatever `n` is. A profile can state all of it beforehand (`omit`, `extra`, `max_tokens_field`).
"""

import asyncio
import email.utils
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from shared.llm import errors
from shared.llm.endpoints import EndpointProfile
from shared.llm.messages import ChatRequest, RecordedAnswer
from shared.llm.responses import (
    BrokenBodyError,
    ErrorBodyError,
    ServerError,
    UnexpectedBodyError,
    parse_server_error,
    read_completion,
    redact,
)

if TYPE_CHECKING:
    import openai

CHAT = "/chat/completions"
MAX_REJECTED = 6  # parameters that a server may reject of one call, one after the other
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
STORE_THREADS = 16  # recorded answers read or written at once
IDLE_CLIENTS = 8  # open clients without users; the least recently used ones are closed
SAMPLING = ("temperature", "top_p", "seed")
OMITTABLE = (*SAMPLING, "n")
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
UNSUPPORTED = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|extra (?:inputs|fields?)|not permitted|not allowed|"
    r"cannot find field|deprecated|instead|invalid (?:argument|parameter|field)",
    re.IGNORECASE,
)
WORD = re.compile(r"[\w-]++")
# The letter alone occurs in many words, so `n` counts only in quotes or before a comparison.
NAMED_N = re.compile(r"['\"`]n['\"`]|\bn\s*+(?:[=>]|must)")
ONE_CHOICE = re.compile(
    r"only one (?:completion|choice|sample|candidate)|multiple (?:completions|choices)", re.IGNORECASE
)
_learned: dict[tuple[str, str, str], "LearnedLimits"] = {}
_learned_lock = threading.Lock()
CONTEXT = re.compile(
    r"context[ _]?(?:length|window|size)|maximum context|too many tokens|prompt is too long|max_model_len",
    re.IGNORECASE,
)
FILTERED = re.compile(r"content[ _](?:filter|policy|management)", re.IGNORECASE)
NOT_RETRYABLE = (501, 505)  # not implemented: a retry does not help
QUOTA = re.compile(r"insufficient_quota|current quota|billing|credit", re.IGNORECASE)


@dataclass(slots=True)
class LearnedLimits:
    """What one model at one endpoint does not accept: parameters, the name of the token limit, `n` above 1."""

    omitted: set[str] = field(default_factory=set)
    bound: str | None = None
    single: bool = False

    def body(self, request: ChatRequest, profile: EndpointProfile) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [message.model_dump() for message in request.messages],
            self.bound or profile.max_tokens_field: request.max_tokens,
            "n": request.n,
        }
        body |= {name: value for name in SAMPLING if (value := getattr(request, name)) is not None}
        unwanted = self.omitted | set(profile.omit)
        return {name: value for name, value in body.items() if name not in unwanted} | profile.extra

    def missing(self, request: ChatRequest, profile: EndpointProfile) -> list[str]:
        body = self.body(request, profile)
        return [name for name in SAMPLING if getattr(request, name) is not None and name not in body]

    def learn(self, error: errors.LlmBadRequestError, body: dict[str, Any]) -> bool:
        """Whether the error names a parameter of this body that can be left out or renamed; from now on it is."""
        for bound in LIMIT_FIELDS:
            if bound in body and mentions(error, bound) and UNSUPPORTED.search(error.server_text):
                other = LIMIT_FIELDS[1 - LIMIT_FIELDS.index(bound)]
                if self.bound == other:  # learned since this call was made
                    return True
                if self.bound is not None:
                    return False
                self.bound = other
                return True
        exact = [name for name in OMITTABLE if name in body and error.param.rpartition(".")[2] == name]
        named = [name for name in OMITTABLE if name in body and mentions(error, name)]
        if "top_p" in named:  # "temperature and top_p cannot both be given": the temperature was chosen
            named = ["top_p"]
        for name in exact or named[:1]:
            self.omitted.add(name)
            self.single = self.single or name == "n"
            return True
        return False


def mentions(error: errors.LlmBadRequestError, parameter: str) -> bool:
    if error.param.rpartition(".")[2] == parameter:
        return True
    if parameter == "n":
        return ONE_CHOICE.search(error.server_text) is not None or NAMED_N.search(error.server_text) is not None
    return parameter in WORD.findall(error.server_text)


def learned_limits(profile: EndpointProfile, model: str) -> LearnedLimits:
    key = (profile.name, profile.base_url, model)
    with _learned_lock:
        return _learned.setdefault(key, LearnedLimits())


def _headers(profile: EndpointProfile, hashed: str) -> dict[str, Any]:
    import openai

    headers: dict[str, Any] = {"Idempotency-Key": hashed}
    # The library always sends a key; a server without one must not get a made-up header.
    if profile.api_key is None:
        headers["Authorization"] = openai.Omit()
    elif (urlsplit(profile.base_url).hostname or "").endswith(".azure.com"):
        headers["api-key"] = profile.secret
    return headers


async def call_once(
    client: "openai.AsyncOpenAI", profile: EndpointProfile, request: ChatRequest, hashed: str, learned: LearnedLimits
) -> RecordedAnswer:
    """Raises a subclass of `LlmError`. The hash is sent as `Idempotency-Key`, for gateways that honour it.

    If the server rejects a parameter by name, the call is repeated without it: a rejected call costs nothing.
    """
    for _ in range(MAX_REJECTED):
        body = learned.body(request, profile)
        try:
            return await _call(client, profile, request, hashed, body, learned)
        except errors.LlmBadRequestError as error:
            if error.may_be_billed or not learned.learn(error, body):
                raise
    return await _call(client, profile, request, hashed, learned.body(request, profile), learned)


async def _call(
    client: "openai.AsyncOpenAI",
    profile: EndpointProfile,
    request: ChatRequest,
    hashed: str,
    body: dict[str, Any],
    learned: LearnedLimits,
) -> RecordedAnswer:
    import openai

    started = time.monotonic()
    try:
        # The client's timeout is per read, so a server that trickles bytes needs this one. `post` instead of the typed
        # method, which spends a third of a call's CPU on converting the body.
        async with asyncio.timeout(profile.timeout_s):
            text = await client.post(CHAT, cast_to=str, body=body, options={"headers": _headers(profile, hashed)})
    except TimeoutError:
        raise timed_out(profile, request.model) from None
    except openai.APIConnectionError as error:
        raise classify_connection(error, profile, request.model) from error
    except openai.APIStatusError as error:
        # `from None`: the library's error carries headers and body, and a log of the chain would show them.
        raise classify_status(error, profile, request.model) from None
    except openai.OpenAIError as error:
        raise _malformed(profile, request, type(error).__name__) from error
    return _read(text, profile, request, time.monotonic() - started, learned)


def _read(
    text: str, profile: EndpointProfile, request: ChatRequest, seconds: float, learned: LearnedLimits
) -> RecordedAnswer:
    """The result may have fewer samples than requested, never more."""
    try:
        completion = read_completion(text)
    except ErrorBodyError as error:
        code = error.error.code.split()[0] if error.error.code else ""
        status = int(code) if code.isdecimal() and 400 <= int(code) < 600 else 400
        raise classify_error(status, error.error, profile, request.model) from None
    except BrokenBodyError as error:
        raise _malformed(profile, request, str(error)) from None
    except UnexpectedBodyError as error:
        raise errors.LlmUnreadableError(
            f"endpoint {profile.name!r} answered model {request.model!r} in a form that is no chat completion: "
            f"{redact(str(error), profile.secret)}; check that its base URL is that of an OpenAI-compatible server"
        ) from None
    choices = completion.choices[: request.n]
    texts = [choice.text for choice in choices]
    prompt, written = completion.prompt_tokens, completion.completion_tokens
    estimate = _estimate(request, [*texts, *(choice.reasoning for choice in choices)])
    return RecordedAnswer(
        endpoint=profile.name,
        request=request,
        served_model=completion.model,
        texts=texts,
        finish_reasons=[choice.finish_reason for choice in choices],
        prompt_tokens=estimate[0] if prompt is None else prompt,
        completion_tokens=estimate[1] if written is None else written,
        usage_reported=prompt is not None and written is not None,
        seconds=round(seconds, 6),
        omitted=learned.missing(request, profile),
    )


def _estimate(request: ChatRequest, texts: list[str]) -> tuple[int, int]:
    """Four bytes per token, for servers that report no usage."""
    prompt = sum(len(message.content.encode()) for message in request.messages)
    completion = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return prompt // 4 + 1, completion // 4 + 1


def _malformed(profile: EndpointProfile, request: ChatRequest, what: str) -> errors.LlmMalformedError:
    return errors.LlmMalformedError(
        f"endpoint {profile.name!r} answered {what} for model {request.model!r}; check that its base URL ends in /v1"
    )


def open_client(profile: EndpointProfile) -> "openai.AsyncOpenAI":
    """The client belongs to the running event loop and is closed there."""
    import openai

    url = urlsplit(profile.base_url)
    local = url.hostname in LOCAL_HOSTS
    client = openai.AsyncOpenAI(
        base_url=urlunsplit(url._replace(query="", fragment="")),
        default_query=dict(parse_qsl(url.query, keep_blank_values=True)),  # Azure's api-version
        api_key=profile.secret or "none",  # the library requires one
        max_retries=0,  # `RetryPolicy` retries, with a reservation for each try
        timeout=openai.Timeout(profile.timeout_s, connect=min(10.0, profile.timeout_s)),
        # A proxy of the environment cannot reach a server on this machine, and plain HTTP needs no certificates,
        # which take 0.1 s to read.
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=not local, verify=not profile.base_url.startswith("http:")
        ),
    )
    # The library reads OpenAI's organisation from the environment; other servers must not see it.
    if profile.name != "openai":
        client.organization = client.project = None
    return client


@dataclass
class Held:
    """A client, and how many runs use it now."""

    client: "openai.AsyncOpenAI"
    users: int = 0


class Connections:
    """One event loop in a thread of its own, and one client per endpoint, which only that loop touches.

    They outlive a shard: otherwise every shard would begin with a handshake per call.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="llm-store"))
        self._held: dict[str, Held] = {}
        threading.Thread(target=self.loop.run_forever, name="llm", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        """May be called from any thread; cancelling the future cancels `work`."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    @asynccontextmanager
    async def client(self, profile: EndpointProfile) -> "AsyncIterator[openai.AsyncOpenAI]":
        name = f"{profile.model_dump_json(exclude={'models'})} {profile.secret or ''}"
        held = self._held.pop(name, None) or Held(open_client(profile))
        self._held[name] = held  # the last one used comes last
        held.users += 1
        try:
            yield held.client
        finally:
            held.users -= 1
            await self._close_idle()

    async def _close_idle(self) -> None:
        idle = [name for name, held in self._held.items() if not held.users]
        for name in idle[: max(0, len(idle) - IDLE_CLIENTS)]:
            await self._held.pop(name).client.close()


def connections() -> Connections:
    """The connections of this process; a fork gets its own."""
    return _connections_of(os.getpid())


# By process id, because neither the loop's thread nor open sockets survive a fork.
@lru_cache(maxsize=1)
def _connections_of(pid: int) -> Connections:
    return Connections()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from `Retry-After-Ms` or `Retry-After` (seconds or a date, RFC 9110 section 10.2.3)."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * scale)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return None


def classify_connection(error: "openai.APIConnectionError", profile: EndpointProfile, model: str) -> errors.LlmError:
    import openai

    cause = type(error.__cause__).__name__
    never_sent = cause in ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
    if isinstance(error, openai.APITimeoutError) and not never_sent:
        return timed_out(profile, model)
    how = "cannot be reached" if never_sent else "broke the connection"
    return errors.LlmUnreachableError(
        f"endpoint {profile.name!r} {how} for model {model!r} ({cause}); check that its server runs at its base URL",
        may_be_billed=not never_sent,
        fatal=never_sent,
    )


def timed_out(profile: EndpointProfile, model: str) -> errors.LlmTimeoutError:
    return errors.LlmTimeoutError(
        f"endpoint {profile.name!r} did not answer for model {model!r} within {profile.timeout_s:g} s; "
        "raise its timeout_s or lower max_tokens"
    )


def classify_status(error: "openai.APIStatusError", profile: EndpointProfile, model: str) -> errors.LlmError:
    asked = retry_after_s(error.response.headers)
    return classify_error(error.status_code, parse_server_error(error.response.text), profile, model, asked)


def classify_error(
    status: int, error: ServerError, profile: EndpointProfile, model: str, asked: float | None = None
) -> errors.LlmError:
    """Also for a 200 whose body is an error."""
    text = f"{error.code} {error.words}"
    at = f"endpoint {profile.name!r}"
    quoted = f": {words}" if (words := redact(error.words, profile.secret)) else ""
    # Before rate limits: spent credit is often a 429 too, and waiting does not end it.
    if status == 402 or (status == 429 and QUOTA.search(text)):
        return errors.LlmQuotaError(
            f"{at} has no credit left for model {model!r} ({status}{quoted}); top up its account"
        )
    if status == 429:
        message = f"{at} limits the rate for model {model!r} (429{quoted}); lower its max_concurrency or wait"
        return errors.LlmRateLimitError(message, retry_after_s=asked)
    if status in (401, 403):
        return errors.LlmAuthError(
            f"{at} refuses its key for model {model!r} ({status}{quoted}); set a valid key in its profile"
        )
    if status == 408:
        return timed_out(profile, model)
    if status == 409 or (status >= 500 and status not in NOT_RETRYABLE):
        message = f"{at} answers {status} for model {model!r}{quoted}; wait, or check its server"
        return errors.LlmUnreachableError(message, retry_after_s=asked, overload=status in (503, 529))
    # Before the plain rejections: many servers report this as a 400, so the words decide.
    if status == 413 or CONTEXT.search(text):
        return errors.LlmContextLengthError(
            f"the prompt is too long for model {model!r} at {at}{quoted}; shorten it or lower max_tokens"
        )
    if FILTERED.search(text):
        return errors.LlmContentFilterError(f"{at} filters this prompt for model {model!r}{quoted}; change its words")
    if status == 404:
        return errors.LlmUnknownModelError(
            f"{at} does not know model {model!r} (404{quoted}); check the model's name and the endpoint's base URL"
        )
    rejected = errors.LlmBadRequestError(
        f"{at} rejects the request for model {model!r} ({status}{quoted}); change the parameter it names, or leave it "
        f"out with SENSE_ENDPOINT_{profile.name.upper().replace('-', '_')}_OMIT"
    )
    rejected.server_text, rejected.param = text, error.param
    return rejected
