"""One HTTP call to a chat endpoint, with no retries: an answer, or an error that names the cause."""

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from shared.llm import errors
from shared.llm.adapt import Learned
from shared.llm.classify import classify_connection, classify_said, classify_status, timed_out
from shared.llm.messages import ChatRequest
from shared.llm.profiles import EndpointProfile
from shared.llm.reading import BrokenError, ErrorBodyError, ShapeError, quote, read_completion
from shared.llm.replay import RecordedAnswer

if TYPE_CHECKING:
    import openai

CHAT = "/chat/completions"
MOST_LESSONS = 6  # parameters that one call may be refused for, one after the other
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def open_client(profile: EndpointProfile) -> "openai.AsyncOpenAI":
    """An `AsyncOpenAI` for the running event loop; close it there. OpenAI's organisation goes to OpenAI only."""
    import openai

    url = urlsplit(profile.base_url)
    local = url.hostname in LOCAL_HOSTS
    client = openai.AsyncOpenAI(
        base_url=urlunsplit(url._replace(query="", fragment="")),
        default_query=dict(parse_qsl(url.query, keep_blank_values=True)),  # Azure's api-version
        api_key=profile.api_key.get_secret_value() if profile.api_key is not None else "none",
        max_retries=0,
        timeout=openai.Timeout(profile.timeout_s, connect=min(10.0, profile.timeout_s)),
        # A proxy from the environment cannot reach a server on this machine.
        # Plain HTTP needs none of the certificates, which take 0.1 s to read.
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=not local, verify=not profile.base_url.startswith("http:")
        ),
    )
    if profile.name != "openai":
        client.organization = client.project = None
    return client


def _headers(profile: EndpointProfile, hashed: str) -> dict[str, Any]:
    import openai

    more: dict[str, Any] = {}
    if profile.api_key is None:
        more["Authorization"] = openai.Omit()
    elif (urlsplit(profile.base_url).hostname or "").endswith(".azure.com"):
        more["api-key"] = profile.api_key.get_secret_value()
    return {"Idempotency-Key": hashed, **more}


async def call_once(
    client: "openai.AsyncOpenAI", profile: EndpointProfile, request: ChatRequest, hashed: str, learned: Learned
) -> RecordedAnswer:
    """Raises a subclass of `LlmError`. The hash goes along as `Idempotency-Key`, for gateways that honour it.

    A parameter that the server refuses by name is left out from then on, and the call is made again: it cost nothing.
    """
    for _ in range(MOST_LESSONS):
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
    learned: Learned,
) -> RecordedAnswer:
    import openai

    started = time.monotonic()
    try:
        # The client's timeout is per read; a server that trickles bytes is stopped by this one.
        # The method by path: the typed one walks the body through its own types first, for a third of a call's CPU.
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
    text: str, profile: EndpointProfile, request: ChatRequest, seconds: float, learned: Learned
) -> RecordedAnswer:
    """The answer in a body; it may have fewer samples than were asked for, never more."""
    try:
        completion = read_completion(text)
    except ErrorBodyError as error:
        code = error.error.code.split()[0] if error.error.code else ""
        status = int(code) if code.isdecimal() and 400 <= int(code) < 600 else 400
        raise classify_said(status, error.error, profile, request.model) from None
    except BrokenError as error:
        raise _malformed(profile, request, str(error)) from None
    except ShapeError as error:
        secret = profile.api_key.get_secret_value() if profile.api_key is not None else None
        raise errors.LlmUnreadableError(
            f"endpoint {profile.name!r} answered model {request.model!r} in a form that is no chat completion: "
            f"{quote(str(error), secret)}; check that its base URL is that of an OpenAI-compatible server"
        ) from None
    choices = completion.choices[: request.n]
    texts = [choice.text for choice in choices]
    thoughts = [choice.thought for choice in choices]
    prompt, written = completion.prompt_tokens, completion.completion_tokens
    reported = prompt is not None and written is not None
    guessed = _estimate(request, [*texts, *thoughts])
    return RecordedAnswer(
        endpoint=profile.name,
        request=request,
        served_model=completion.model,
        texts=texts,
        finish_reasons=[choice.finish_reason for choice in choices],
        prompt_tokens=guessed[0] if prompt is None else prompt,
        completion_tokens=guessed[1] if written is None else written,
        usage_reported=reported,
        seconds=round(seconds, 6),
        left_out=learned.missing(request, profile),
    )


def _estimate(request: ChatRequest, texts: list[str]) -> tuple[int, int]:
    """Four bytes a token, for servers that report no usage."""
    prompt = sum(len(message.content.encode()) for message in request.messages)
    completion = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return prompt // 4 + 1, completion // 4 + 1


def _malformed(profile: EndpointProfile, request: ChatRequest, what: str) -> errors.LlmMalformedError:
    return errors.LlmMalformedError(
        f"endpoint {profile.name!r} answered {what} for model {request.model!r}; check that its base URL ends in /v1"
    )
