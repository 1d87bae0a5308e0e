"""What servers return: the texts of a chat completion, or the message of an error.

Tolerant on purpose: content as text or a list of chunks, tool calls and refusals in its place, server-sent events that
nobody requested, usage under other names; errors as OpenAI, FastAPI and others write them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

QUOTED_CHARS = 300  # of a server's message in one of ours
READ_CHARS = 64_000  # of an error's body
TAG = re.compile(r"<(?:script|style)\b[^<]*<|<[^<>]*>", re.IGNORECASE)
SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|nvapi|AIza|Bearer|Basic)(?:[-_]|\s+)?[A-Za-z0-9*_.=+/-]{12,}|\b[0-9a-fA-F]{32,}\b"
)
MESSAGE_KEYS = [
    "message",
    "error",
    "detail",
    "msg",
    "errors",
    "error_message",
    "error_description",
    "description",
    "title",
]
FINISH_REASONS = {
    "max_tokens": "length", "max_length": "length", "model_length": "length", "max_output_tokens": "length",
    "token_limit": "length", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "completed": "stop", "complete": "stop", "safety": "content_filter", "recitation": "content_filter",
    "prohibited_content": "content_filter", "blocklist": "content_filter",
}  # fmt: skip
TEXT_CHUNKS = frozenset(("text", "output_text", "input_text", ""))
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thoughts")


class UnexpectedBodyError(ValueError):
    """A complete body that is not a chat completion: a retry would get the same."""


class BrokenBodyError(ValueError):
    """An incomplete body, or one that is not the server's own: a retry may help."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """The message of an error, the parameter that it names, and its code."""

    words: str = ""
    code: str = ""
    param: str = ""


class ErrorBodyError(ValueError):
    """A 200 whose body is an error."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(error.words)
        self.error = error


@dataclass(slots=True)
class Choice:
    """One choice: its text, the reasoning that came separately, and why it ended."""

    index: int
    text: str
    reasoning: str
    finish_reason: str


@dataclass(slots=True)
class Completion:
    """The parts of a body that we use. Tokens are None if the server does not report them."""

    model: str | None
    choices: list[Choice] = field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def read_completion(text: str) -> Completion:
    """Raises `ErrorBodyError`, `UnexpectedBodyError` or `BrokenBodyError`."""
    data = read_events(text) if text.lstrip()[:6] in ("data: ", "data:{", "event:") else read_body(text)
    if not isinstance(data, Mapping):
        raise UnexpectedBodyError(f"JSON that is no object: {text.strip()[:80]}")
    choices = data.get("choices")
    if data.get("error") and not choices:
        raise ErrorBodyError(parse_server_error(text))
    if choices is None:
        raise UnexpectedBodyError(f"an object without choices ({', '.join(map(str, list(data)[:8])) or 'empty'})")
    if not isinstance(choices, list):
        raise UnexpectedBodyError("choices that are no list")
    if not choices:
        raise BrokenBodyError("no choices")
    usage = data.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    model = data.get("model")
    return Completion(
        model=replace_surrogates(model) if isinstance(model, str) else None,
        choices=sorted((read_choice(one, place) for place, one in enumerate(choices)), key=lambda choice: choice.index),
        prompt_tokens=token_count(usage, "prompt_tokens", "input_tokens"),
        completion_tokens=token_count(usage, "completion_tokens", "output_tokens"),
    )


def read_body(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        what = "HTML" if text.lstrip()[:1] == "<" else "no JSON" if text.strip() else "nothing"
        raise BrokenBodyError(what) from None


def read_events(text: str) -> dict[str, Any]:
    """Assembles server-sent events into one completion, for servers that always stream."""
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    ended = False
    for line in text.replace("\r\n", "\n").split("\n"):  # no other character ends an event's line
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data == "[DONE]":
            ended = True
            continue
        if not data:
            continue
        event = read_body(data)
        if not isinstance(event, dict):
            continue
        if event.get("error"):
            raise ErrorBodyError(parse_server_error(data))
        whole |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        listed = event.get("choices")
        for one in listed if isinstance(listed, list) else []:
            if isinstance(one, dict):
                ended = ended or bool(one.get("finish_reason"))
                index = one["index"] if isinstance(one.get("index"), int) else 0
                add_chunk(choices.setdefault(index, {"content": "", "reasoning": ""}), one)
    if not ended:
        raise BrokenBodyError("events that break off")
    whole["choices"] = [
        {"index": index, "message": {"content": one["content"], "reasoning": one["reasoning"]}, **one.get("end", {})}
        for index, one in sorted(choices.items())
    ]
    return whole


def add_chunk(choice: dict[str, Any], event: Mapping[str, Any]) -> None:
    part = read_choice(event, 0)
    choice["content"] += part.text
    choice["reasoning"] += part.reasoning
    if event.get("finish_reason"):
        choice["end"] = {"finish_reason": event["finish_reason"]}


def read_choice(choice: object, place: int) -> Choice:
    """Finds the text wherever the server has put it; reasoning never counts as text."""
    if not isinstance(choice, Mapping):
        raise UnexpectedBodyError("a choice that is no object")
    message = choice.get("message") or choice.get("delta")
    if message is None and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}
    if not isinstance(message, Mapping):
        if message is not None or "finish_reason" not in choice:
            raise UnexpectedBodyError("a choice without a message")
        message = {}
    text = content_text(message.get("content"))
    reasoning = next((str(message[name]) for name in REASONING_FIELDS if isinstance(message.get(name), str)), "")
    # Some models answer with a tool call or a refusal in place of content.
    if not text.strip():
        text = tool_call_text(message) or (message["refusal"] if isinstance(message.get("refusal"), str) else text)
    index, finish = choice.get("index"), choice.get("finish_reason") or choice.get("stop_reason")
    reason = finish.lower() if isinstance(finish, str) else "unknown"
    return Choice(
        index if isinstance(index, int) else place,
        replace_surrogates(text),
        replace_surrogates(reasoning),
        FINISH_REASONS.get(reason, reason),
    )


def replace_surrogates(text: str) -> str:
    """Replaces halves of surrogate pairs, which JSON can carry and nothing can store."""
    return text.encode("utf-8", "replace").decode()


def content_text(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        raise UnexpectedBodyError(f"content that is {type(content).__name__}")
    return "".join(chunk_text(chunk) for chunk in content)


def chunk_text(chunk: object) -> str:
    if isinstance(chunk, str):
        return chunk
    if not isinstance(chunk, Mapping):
        raise UnexpectedBodyError("a chunk of content that is no object")
    text = chunk.get("text")
    if isinstance(text, Mapping):
        text = text.get("value")
    return text if isinstance(text, str) and str(chunk.get("type") or "") in TEXT_CHUNKS else ""


def tool_call_text(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    functions = [one.get("function") for one in calls if isinstance(one, Mapping)] if isinstance(calls, list) else []
    found = [one.get("arguments") for one in (*functions, message.get("function_call")) if isinstance(one, Mapping)]
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in found if one)


def token_count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return int(value)
    return None


def parse_server_error(text: str) -> ServerError:
    text = text[:READ_CHARS]
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        # A proxy's error page: only its words help the reader.
        plain = TAG.sub(" ", text) if text.lstrip()[:1] == "<" else text
        return ServerError(words=" ".join(plain.split()))
    inner = data.get("error") if isinstance(data, Mapping) else None
    named = inner if isinstance(inner, Mapping) else data if isinstance(data, Mapping) else {}
    code = " ".join(str(named[name]) for name in ("code", "type", "status") if named.get(name))
    return ServerError(" ".join("; ".join(error_sentences(data)).split()), code, error_param(named, data))


def error_sentences(value: object, depth: int = 0) -> Iterator[str]:
    if depth > 5:
        return
    if isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, list):
        for one in value[:5]:
            yield from error_sentences(one, depth + 1)
    elif isinstance(value, Mapping):
        place = value.get("loc")
        where = ".".join(str(one) for one in place if one != "body") if isinstance(place, list) else ""
        for name in MESSAGE_KEYS:
            if found := [f"{where}: {one}" if where else one for one in error_sentences(value.get(name), depth + 1)]:
                yield from found
                break
        metadata = value.get("metadata")
        if isinstance(metadata, Mapping) and isinstance(metadata.get("raw"), str):  # OpenRouter quotes the provider
            yield str(metadata["raw"])


def error_param(named: Mapping[str, Any], data: object) -> str:
    if isinstance(named.get("param"), str):
        return str(named["param"])
    detail = data.get("detail") if isinstance(data, Mapping) else None
    first = detail[0] if isinstance(detail, list) and detail else None
    place = first.get("loc") if isinstance(first, Mapping) else None
    return str(place[-1]) if isinstance(place, list) and place else ""


def redact(words: str, secret: str | None = None) -> str:
    """Puts a server's message on one line, cuts it, and removes the key and anything that looks like one."""
    if secret:
        words = words.replace(secret, "[key]")
    # Cut before the search, which then costs the same for any body.
    words = SECRET.sub("[key]", " ".join(replace_surrogates(words[: 4 * QUOTED_CHARS]).split()))
    return words if len(words) <= QUOTED_CHARS else words[: QUOTED_CHARS - 1] + "…"
