"""One HTTP call to a chat endpoint, with no retries: an answer, or an error that names the cause."""

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from shared.llm import errors
from shared.llm.classify import classify_connection, classify_status, timed_out
from shared.llm.messages import ChatRequest
from shared.llm.profiles import EndpointProfile
from shared.llm.replay import RecordedAnswer

if TYPE_CHECKING:
    import openai

CHAT = "/chat/completions"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _Message
    finish_reason: str | None = None


class _Tokens(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Completion(BaseModel):
    """The part of the answer's body that is used; servers add fields freely."""

    model: str | None = None
    choices: list[_Choice]
    usage: _Tokens | None = None


def open_client(profile: EndpointProfile) -> "openai.AsyncOpenAI":
    """An `AsyncOpenAI` for the running event loop; close it there. OpenAI's organisation goes to OpenAI only."""
    import openai

    local = urlsplit(profile.base_url).hostname in LOCAL_HOSTS
    client = openai.AsyncOpenAI(
        base_url=profile.base_url,
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


def request_body(request: ChatRequest, profile: EndpointProfile) -> dict[str, Any]:
    """The JSON body; parameters that are None are left out."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [message.model_dump() for message in request.messages],
        profile.max_tokens_field: request.max_tokens,
        "n": request.n,
    }
    optional = {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
    return body | {name: value for name, value in optional.items() if value is not None}


def _headers(profile: EndpointProfile, hashed: str) -> dict[str, Any]:
    import openai

    unauthorised = {"Authorization": openai.Omit()} if profile.api_key is None else {}
    return {"Idempotency-Key": hashed, **unauthorised}


async def call_once(
    client: "openai.AsyncOpenAI", profile: EndpointProfile, request: ChatRequest, hashed: str
) -> RecordedAnswer:
    """Raises a subclass of `LlmError`. The hash goes along as `Idempotency-Key`, for gateways that honour it."""
    import openai

    started = time.monotonic()
    try:
        # The client's timeout is per read; a server that trickles bytes is stopped by this one.
        # The method by path: the typed one walks the body through its own types first, for a third of a call's CPU.
        async with asyncio.timeout(profile.timeout_s):
            text = await client.post(
                CHAT, cast_to=str, body=request_body(request, profile), options={"headers": _headers(profile, hashed)}
            )
    except TimeoutError:
        raise timed_out(profile, request.model) from None
    except openai.APIConnectionError as error:
        raise classify_connection(error, profile, request.model) from error
    except openai.APIStatusError as error:
        # `from None`: the library's error carries headers and body, and a log of the chain would show them.
        raise classify_status(error, profile, request.model) from None
    except openai.OpenAIError as error:
        raise _malformed(profile, request, type(error).__name__) from error
    return _read(text, profile, request, time.monotonic() - started)


def _read(text: str, profile: EndpointProfile, request: ChatRequest, seconds: float) -> RecordedAnswer:
    try:
        completion = _Completion.model_validate_json(text)
    except ValidationError:
        what = "HTML" if text.lstrip()[:1] == "<" else "no chat completion"
        raise _malformed(profile, request, what) from None
    choices = sorted(completion.choices, key=lambda choice: choice.index)
    if not choices:
        raise _malformed(profile, request, "no choices")
    if len(choices) != request.n:
        raise errors.LlmBadRequestError(
            f"endpoint {profile.name!r} gave {len(choices)} of {request.n} samples for model {request.model!r}; "
            "ask it for one sample a call",
            may_be_billed=True,
        )
    texts = [choice.message.content or "" for choice in choices]
    usage = completion.usage or _estimate(request, texts)
    return RecordedAnswer(
        endpoint=profile.name,
        request=request,
        served_model=completion.model,
        texts=texts,
        finish_reasons=[choice.finish_reason or "unknown" for choice in choices],
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        usage_reported=completion.usage is not None,
        seconds=round(seconds, 6),
    )


def _estimate(request: ChatRequest, texts: list[str]) -> _Tokens:
    """Four bytes a token, for servers that report no usage."""
    prompt = sum(len(message.content.encode()) for message in request.messages)
    completion = sum(len(text.encode()) for text in texts)
    return _Tokens(prompt_tokens=prompt // 4 + 1, completion_tokens=completion // 4 + 1)


def _malformed(profile: EndpointProfile, request: ChatRequest, what: str) -> errors.LlmMalformedError:
    return errors.LlmMalformedError(
        f"endpoint {profile.name!r} answered {what} for model {request.model!r}; check that its base URL ends in /v1"
    )
