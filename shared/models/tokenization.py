"""Renders and tokenizes conversations so that text of users and models never becomes a control token.

A tokenizer looks for the texts of its added tokens (`<|im_end|>`, `</s>`, `<tool_call>`, …) everywhere, even in a
question, a cell or an answer, where they would end the turn. `ChatEncoder` cuts such a text behind its first character
before it renders the chat template, and tokenizes the pieces separately: each is ordinary text and decodes to the same
characters, and the template's own tokens stay what they are. All other conversations are tokenized as usual. Training
and both engines tokenize here, so that they see the same tokens.
"""

import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ChatTurn = Mapping[str, Any]
# For bases without a chat template: turns are plain text, one below the other; the answer follows a last line `SQL:`.
COMPLETION_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'SQL:\n' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'SQL:\n' }}{% endif %}"
)
# Unicode's noncharacters do not occur in exchanged text; if one does, another one marks the cut.
CUT_CHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
_patterns: "weakref.WeakKeyDictionary[Any, re.Pattern[str] | None]" = weakref.WeakKeyDictionary()


def control_token_pattern(texts: Iterable[tuple[str, bool]]) -> re.Pattern[str] | None:
    """Matches the first character of each occurrence of an added token's text, overlapping ones too.

    `texts`: the token's text, and whether the tokenizer normalizes what it compares (case, in practice). Tokens that
    are blank (some tokenizers write indentation so) or one character long control nothing and are left out.
    """
    exact = {text for text, _ in texts if len(text) > 1 and text.strip()}
    if not exact:
        return None
    loose = {text for text, normalized in texts if normalized and text in exact}
    firsts = "".join(sorted({re.escape(text[0]) for text in exact}))
    # the longest first, because a shorter token can be the start of a longer one
    words = [re.escape(text) for text in sorted(exact, key=len, reverse=True)]
    words += [f"(?i:{re.escape(text)})" for text in sorted(loose, key=len, reverse=True)]
    # in a text that is compared regardless of case, the first character may be either
    first = f"[{firsts}]" if not loose else "(?s:.)"
    return re.compile(f"(?=(?:{'|'.join(words)})){first}")


def tokenizer_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    if tokenizer not in _patterns:
        added = [(str(one.content), bool(one.normalized)) for one in tokenizer.added_tokens_decoder.values()]
        added += [(str(text), False) for text in tokenizer.all_special_tokens]
        _patterns[tokenizer] = control_token_pattern(added)
    return _patterns[tokenizer]


def has_control_token(pattern: re.Pattern[str] | None, texts: Iterable[str]) -> bool:
    return pattern is not None and any(pattern.search(text) for text in texts)


class ChatEncoder:
    """Renders and tokenizes one conversation. Pass every turn through `escape_turns` before `render`."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._pattern = tokenizer_pattern(tokenizer)
        self._cut = ""
        if has_control_token(self._pattern, texts):
            # a cut that occurs in the text could not be told from ours
            free = [cut for cut in CUT_CHARACTERS if not any(cut in text for text in texts)]
            self._cut = free[0] if free else CUT_CHARACTERS[0]

    def escape_turns(self, turns: Sequence[ChatTurn]) -> list[dict[str, Any]]:
        return [{**turn, "content": self._escape(turn["content"])} for turn in turns]

    def _escape(self, text: str) -> str:
        """Inserts the cut behind the first character of each added token's text."""
        if not self._cut or self._pattern is None:
            return text
        cut = self._cut
        return self._pattern.sub(lambda found: found.group() + cut, text.replace(cut, ""))

    def render(self, turns: Sequence[ChatTurn], *, generation_prompt: bool = False) -> str:
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation_prompt)
        return str(text)

    def encode(self, rendered: str) -> list[int]:
        first, *more = rendered.split(self._cut) if self._cut else [rendered]
        found = encode_text(self._tokenizer, first) if first else []
        for piece in more:
            found += encode_continuation(self._tokenizer, piece) if piece else []
        return found


def encode_text(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode_continuation(tokenizer: Any, text: str) -> list[int]:
    """Encodes a text that continues another one.

    Some tokenizers (Llama 2, Mistral) put a blank before every text; here there must be none.
    """
    if not str(tokenizer.convert_ids_to_tokens(encode_text(tokenizer, "x"))[0]).startswith("▁"):
        return encode_text(tokenizer, text)
    # behind a newline the tokenizer adds no blank; the newline's own tokens are then cut off
    anchor, anchored = encode_text(tokenizer, "\n"), encode_text(tokenizer, f"\n{text}")
    return anchored[len(anchor) :] if anchored[: len(anchor)] == anchor else encode_text(tokenizer, text)


def encode_chat(tokenizer: Any, turns: Sequence[ChatTurn]) -> list[int]:
    chat = ChatEncoder(tokenizer, [str(turn["content"]) for turn in turns])
    return chat.encode(chat.render(chat.escape_turns(turns), generation_prompt=True))


def ensure_chat_template(tokenizer: Any) -> bool:
    """Gives a tokenizer without a chat template the completion template; True if it did.

    The model's folder carries the template, so training and serving render the same prompts.
    """
    if tokenizer.chat_template:
        return False
    tokenizer.chat_template = COMPLETION_TEMPLATE
    return True
