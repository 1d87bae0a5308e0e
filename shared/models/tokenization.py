"""Text of users and models as ordinary tokens: it never becomes one of the tokens that steer a model.

A tokenizer looks for the texts of its added tokens (`<|im_end|>`, `</s>`, `<tool_call>`, …) in all that it is given,
also in a question, a cell or an answer, where they would end the turn. Here such a text is cut behind its first
character before the chat template is rendered, and the pieces are tokenized apart: each is ordinary text, decodes to
the same characters, and the template's own tokens stay what they are. A conversation without such a text, and so every
usual one, goes the tokenizer's own way. Training and both engines tokenize here, so that they see the same.
"""

import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ChatTurn = Mapping[str, Any]
# Unicode's noncharacters, which no text that is exchanged may hold; where one does, another one is the cut.
CUT_CHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
_patterns: "weakref.WeakKeyDictionary[Any, re.Pattern[str] | None]" = weakref.WeakKeyDictionary()


def control_token_pattern(texts: Iterable[tuple[str, bool]]) -> re.Pattern[str] | None:
    """Finds the first character of each occurrence of an added token's text, overlapping ones too.

    `texts`: the token's text, and whether the tokenizer normalizes what it compares (case, in practice). Tokens of
    blanks alone are how some tokenizers write indentation, and one character cannot be cut: neither steers anything.
    """
    exact = {text for text, _ in texts if len(text) > 1 and text.strip()}
    if not exact:
        return None
    loose = {text for text, normalized in texts if normalized and text in exact}
    firsts = "".join(sorted({re.escape(text[0]) for text in exact}))
    words = [re.escape(text) for text in sorted(exact, key=len, reverse=True)]
    words += [f"(?i:{re.escape(text)})" for text in sorted(loose, key=len, reverse=True)]
    first = f"[{firsts}]" if not loose else "(?s:.)"
    return re.compile(f"(?=(?:{'|'.join(words)})){first}")


def tokenizer_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """The pattern for all tokens that were added to a tokenizer's vocabulary; made once."""
    if tokenizer not in _patterns:
        added = [(str(one.content), bool(one.normalized)) for one in tokenizer.added_tokens_decoder.values()]
        added += [(str(text), False) for text in tokenizer.all_special_tokens]
        _patterns[tokenizer] = control_token_pattern(added)
    return _patterns[tokenizer]


def has_control_token(pattern: re.Pattern[str] | None, texts: Iterable[str]) -> bool:
    """Whether any of the texts holds the text of an added token."""
    return pattern is not None and any(pattern.search(text) for text in texts)


class ChatEncoder:
    """Renders and tokenizes one conversation. Every turn that the template gets has to come from `turns`."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._pattern = tokenizer_pattern(tokenizer)
        self._cut = ""
        if has_control_token(self._pattern, texts):
            free = [cut for cut in CUT_CHARACTERS if not any(cut in text for text in texts)]
            self._cut = free[0] if free else CUT_CHARACTERS[0]

    def turns(self, turns: Sequence[ChatTurn]) -> list[dict[str, Any]]:
        """The same turns with their contents cut where they must be."""
        return [{**turn, "content": self.cut(turn["content"])} for turn in turns]

    def cut(self, text: str) -> str:
        """The text with a mark behind the first character of each added token's text."""
        if not self._cut or self._pattern is None:
            return text
        cut = self._cut
        return self._pattern.sub(lambda found: found.group() + cut, text.replace(cut, ""))

    def render(self, turns: Sequence[ChatTurn], *, generation_prompt: bool = False) -> str:
        """The chat template over turns that `turns` gave."""
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation_prompt)
        return str(text)

    def ids(self, rendered: str) -> list[int]:
        """Token ids of a rendered text, piece by piece."""
        first, *more = rendered.split(self._cut) if self._cut else [rendered]
        found = encode_text(self._tokenizer, first) if first else []
        for piece in more:
            found += encode_continuation(self._tokenizer, piece) if piece else []
        return found


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """A tokenizer's own ids of a text, with nothing around them."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode_continuation(tokenizer: Any, text: str) -> list[int]:
    """The same for a text in the middle of another one, where a tokenizer that puts a blank before every text (Llama 2,
    Mistral) must put none."""
    if not str(tokenizer.convert_ids_to_tokens(encode_text(tokenizer, "x"))[0]).startswith("▁"):
        return encode_text(tokenizer, text)
    anchor, anchored = encode_text(tokenizer, "\n"), encode_text(tokenizer, f"\n{text}")
    return anchored[len(anchor) :] if anchored[: len(anchor)] == anchor else encode_text(tokenizer, text)


def encode_chat(tokenizer: Any, turns: Sequence[ChatTurn]) -> list[int]:
    """Token ids of a conversation that asks for an answer."""
    plain = ChatEncoder(tokenizer, [str(turn["content"]) for turn in turns])
    return plain.ids(plain.render(plain.turns(turns), generation_prompt=True))


COMPLETION_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'SQL:\n' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'SQL:\n' }}{% endif %}"
)


def ensure_chat_template(tokenizer: Any) -> bool:
    """Gives a tokenizer without a chat template the completion style; whether it did."""
    if tokenizer.chat_template:
        return False
    tokenizer.chat_template = COMPLETION_TEMPLATE
    return True
