"""Chat requests that contain the text of a control token: vLLM would read it as the token and end the turn there.

The front renders and tokenizes such a request itself, as in training (`shared.models.tokenization`), sends the ids to
vLLM's completion interface, and converts the answer back to a chat. All other requests pass unchanged.
"""

import json
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from shared.errors import InvalidInputError
from shared.models.tokenization import control_token_pattern, encode_chat, ensure_chat_template, has_control_token

# Fields that a completion request does not have.
CHAT_ONLY = (
    "tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "chat_template",
    "chat_template_kwargs", "documents", "continue_final_message",
)  # fmt: skip
NOT_FORWARDED = ("messages", "max_completion_tokens", "add_generation_prompt", *CHAT_ONLY)


def as_token_completion(payload: dict[str, Any], base_dir: str) -> dict[str, Any] | None:
    """A completion request with token ids for a chat request that needs it; None for all others.

    Reads the base's tokenizer, so call it off the event loop. Raises InvalidInputError for what ids cannot express.
    """
    turns = read_turns(payload.get("messages"))
    if turns is None or not has_control_token(base_token_pattern(base_dir), [turn["content"] for turn in turns]):
        return None
    if named := [name for name in CHAT_ONLY if payload.get(name) not in (None, False, [], {}, "none", 0)]:
        raise InvalidInputError(
            f"The messages hold the text of a control token, which '{named[0]}' cannot be combined with: "
            "leave one out.",
            code="invalid_request",
        )
    kept = {name: value for name, value in payload.items() if name not in NOT_FORWARDED}
    most = payload.get("max_completion_tokens") or payload.get("max_tokens")
    # null: as much as fits, as for chats; a completion's own default is 16.
    return {**kept, "prompt": encode_chat(base_tokenizer(base_dir), turns), "max_tokens": most}


def read_turns(messages: object) -> list[dict[str, str]] | None:
    """The turns as text; None if they hold anything else, which vLLM then judges."""
    if not isinstance(messages, list):
        return None
    turns: list[dict[str, str]] = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return None
        content = message.get("content")
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, dict) else None for part in content]
            if not all(isinstance(part, str) for part in parts):
                return None
            content = "".join(str(part) for part in parts)
        if not isinstance(content, str):
            return None
        turns.append({"role": message["role"], "content": content})
    return turns


@lru_cache(maxsize=4)
def base_token_pattern(base_dir: str) -> Any:
    """The pattern of a base's added tokens, read from its files, so that most requests load no tokenizer."""
    folder, texts = Path(base_dir), list[tuple[str, bool]]()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        try:
            config = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        listed = [*config.get("added_tokens", []), *(config.get("added_tokens_decoder") or {}).values()]
        listed += [value for key, value in config.items() if key.endswith("_token") and value]
        listed += config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
        for one in listed:
            text = one.get("content") if isinstance(one, dict) else one
            if isinstance(text, str):
                texts.append((text, isinstance(one, dict) and bool(one.get("normalized"))))
    return control_token_pattern(texts)


@lru_cache(maxsize=2)
def base_tokenizer(base_dir: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
    ensure_chat_template(tokenizer)
    return tokenizer


def completion_to_chat(answer: dict[str, Any]) -> dict[str, Any]:
    choices = [
        {
            "index": one["index"],
            "message": {"role": "assistant", "content": one["text"], "refusal": None},
            "logprobs": None,
            "finish_reason": one.get("finish_reason"),
        }
        for one in answer["choices"]
    ]
    return {**answer, "object": "chat.completion", "choices": choices}


def completion_to_chat_chunk(answer: dict[str, Any], begun: set[int]) -> dict[str, Any]:
    """Converts one chunk; `begun` are the choices whose first chunk was sent."""
    choices = []
    for one in answer.get("choices", []):
        role = {} if one["index"] in begun else {"role": "assistant"}
        begun.add(one["index"])
        delta = {**role, **({"content": one["text"]} if one.get("text") else {})}
        choices.append(
            {"index": one["index"], "delta": delta, "logprobs": None, "finish_reason": one.get("finish_reason")}
        )
    return {**answer, "object": "chat.completion.chunk", "choices": choices}


async def completion_to_chat_stream(flow: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    begun: set[int] = set()
    rest = b""
    async for part in flow:
        # chunks end anywhere, also in the middle of a line
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield chat_stream_line(line, begun) + b"\n"
    if rest:
        yield chat_stream_line(rest, begun)


def chat_stream_line(line: bytes, begun: set[int]) -> bytes:
    # `data: [DONE]`, blank lines and comments
    if not line.startswith(b"data: {"):
        return line
    answer = json.loads(line.removeprefix(b"data: "))
    return line if "choices" not in answer else b"data: " + json.dumps(completion_to_chat_chunk(answer, begun)).encode()
