"""Chat requests whose text holds that of a control token: vLLM would read it as the token, and end the turn there.

Such a request is rendered and tokenized here, as in training (`shared.models.tokenization`), and goes to vLLM as ids by
its completion interface; the answer is put back into the form of a chat. Every other request passes as it is.
"""

import json
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from shared.errors import InvalidInputError
from shared.models.tokenization import control_token_pattern, encode_chat, ensure_chat_template, has_control_token

# What a completion request has no word for, at values that mean something.
CHAT_ONLY = (
    "tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "chat_template",
    "chat_template_kwargs", "documents", "continue_final_message",
)  # fmt: skip
NOT_FORWARDED = ("messages", "max_completion_tokens", "add_generation_prompt", *CHAT_ONLY)


def as_token_completion(asked: dict[str, Any], base_dir: str) -> dict[str, Any] | None:
    """The completion request with token ids for a chat request that needs it; None for all others.

    Reads the base's tokenizer, so not for an event loop. Raises InvalidInputError for what ids cannot carry.
    """
    turns = read_turns(asked.get("messages"))
    if turns is None or not has_control_token(base_token_pattern(base_dir), [turn["content"] for turn in turns]):
        return None
    if named := [name for name in CHAT_ONLY if asked.get(name) not in (None, False, [], {}, "none", 0)]:
        raise InvalidInputError(
            f"The messages hold the text of a control token, which '{named[0]}' cannot be combined with: "
            "leave one out.",
            code="invalid_request",
        )
    kept = {name: value for name, value in asked.items() if name not in NOT_FORWARDED}
    most = asked.get("max_completion_tokens") or asked.get("max_tokens")
    # null: as much as fits, as for chats; a completion's own default is 16.
    return {**kept, "prompt": encode_chat(base_tokenizer(base_dir), turns), "max_tokens": most}


def read_turns(messages: object) -> list[dict[str, str]] | None:
    """The turns as text; None where they hold something else, which vLLM is left to judge."""
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
    """The texts of a base's added tokens, read from its files: no tokenizer is loaded for requests without them."""
    folder, texts = Path(base_dir), list[tuple[str, bool]]()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        try:
            said = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        listed = [*said.get("added_tokens", []), *(said.get("added_tokens_decoder") or {}).values()]
        listed += [value for key, value in said.items() if key.endswith("_token") and value]
        listed += said.get("additional_special_tokens") or said.get("extra_special_tokens") or []
        for one in listed:
            text = one.get("content") if isinstance(one, dict) else one
            if isinstance(text, str):
                texts.append((text, isinstance(one, dict) and bool(one.get("normalized"))))
    return control_token_pattern(texts)


@lru_cache(maxsize=2)
def base_tokenizer(base_dir: str) -> Any:
    """A base's tokenizer with its chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
    ensure_chat_template(tokenizer)
    return tokenizer


def completion_to_chat(said: dict[str, Any]) -> dict[str, Any]:
    """A whole completion as a chat's answer."""
    choices = [
        {
            "index": one["index"],
            "message": {"role": "assistant", "content": one["text"], "refusal": None},
            "logprobs": None,
            "finish_reason": one.get("finish_reason"),
        }
        for one in said["choices"]
    ]
    return {**said, "object": "chat.completion", "choices": choices}


def completion_to_chat_chunk(said: dict[str, Any], begun: set[int]) -> dict[str, Any]:
    """A completion's chunk as a chat's; `begun` are the choices that have had their first."""
    choices = []
    for one in said.get("choices", []):
        role = {} if one["index"] in begun else {"role": "assistant"}
        begun.add(one["index"])
        delta = {**role, **({"content": one["text"]} if one.get("text") else {})}
        choices.append(
            {"index": one["index"], "delta": delta, "logprobs": None, "finish_reason": one.get("finish_reason")}
        )
    return {**said, "object": "chat.completion.chunk", "choices": choices}


async def completion_to_chat_stream(flow: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A completion's events as a chat's; what is no chunk (an error, the end) passes as it is."""
    begun: set[int] = set()
    rest = b""
    async for part in flow:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield chat_stream_line(line, begun) + b"\n"
    if rest:
        yield chat_stream_line(rest, begun)


def chat_stream_line(line: bytes, begun: set[int]) -> bytes:
    """One line of a stream."""
    if not line.startswith(b"data: {"):
        return line
    said = json.loads(line.removeprefix(b"data: "))
    return line if "choices" not in said else b"data: " + json.dumps(completion_to_chat_chunk(said, begun)).encode()
