"""Blanks the parts of an answer that are not addressed to the reader: reasoning and control tokens.

Blanked, not cut: every other character keeps its place, so that offsets hold in the original answer.
"""

import re
from collections.abc import Iterator
from itertools import islice

from shared.sql.tokens import CLOSED

NAMES = (
    r"think|thinking|thoughts?|reasoning|reason|reflection|analysis|scratchpad|deliberation|inner_monologue|seed:think"
)
TURNS = (
    r"im_start|im_end|endoftext|end_of_text|eot_id|eot|eom_id|eos|end_of_turn|end_of_turn_token|end|return|call|start|"
    r"start_header_id|user|system|human|end[_▁]of[_▁]sentence|end_of_sentence"
)
# An opening mark and its closing mark have the same family; a closing mark alone ends reasoning that the chat template
# has opened.
REASONING_MARK = (
    rf"<(?P<close_tag>/)?(?P<tag>{NAMES})(?:\s[^<>\n]{{0,80}})?>"
    r"|\[(?P<close_bracket>/)?(?P<bracket>think|thinking)\]"
    r"|<\|(?P<close_pipe>/|end_of_|end_)?(?P<pipe>(?:start_|begin_of_)?(?:think|thinking|thought))\|>"
    r"|◁(?P<close_kimi>/)?(?P<kimi>think)▷"
    r"|<\|(?P<inner>inner_prefix|inner_suffix)\|>"
    r"|(?P<gemma><\|channel>thought|<channel\|>)"
    r"|<\|channel\|>[ \t]*(?P<channel>analysis|commentary|final)\b[^<\n]{0,80}"
    r"(?:<\|constrain\|>\w{0,20})?(?:<\|message\|>)?"
)
CONTROL_TOKEN = (
    rf"(?P<turn><[|｜](?:{TURNS})[|｜]>|</s>|<eos>|<end_of_turn>|<start_of_turn>|<turn\|>|\[/?(?-i:INST)\])"
    r"|(?P<other><[|｜][^\s<>|｜]{1,40}[|｜]>|<s>|<bos>|<pad>|<unk>|<\|turn>)"
)
MARK = re.compile(f"{REASONING_MARK}|{CONTROL_TOKEN}", re.IGNORECASE)
CLOSERS = frozenset(("inner_suffix", "<channel|>", "final"))
# gpt-oss without its special tokens, and Granite's two sentences.
BARE_CHANNEL = re.compile(r"\s*analysis(?=[A-Z])")
BARE_FINAL = "assistantfinal"
SENTENCE = re.compile(r"\s*(?:\*\*)?here(?:'s|’s| is) my (?:thought|thinking|reasoning) process\b", re.IGNORECASE)
RESPONSE = re.compile(r"\bhere(?:'s|’s| is) my (?:response|answer|reply)\b[:*]{0,3}", re.IGNORECASE)
STATEMENT = re.compile(r"(?:^|[:`\"“(>][ \t]*+[\"'`]?)[ \t]*+(?:SELECT|WITH)\b", re.IGNORECASE | re.MULTILINE)
BLANK = "\f"  # not a space, which would be indentation
MAX_MARKS = 4096  # an answer with more is blanked as a whole
MAX_STATEMENTS = 64  # searched for literals; bounds the cost
QUOTE = re.compile(r"['\"`\[]|--|/\*")
ROLE = frozenset(("", "assistant", "model"))


def blank_reasoning(answer: str) -> str:
    """The answer at the same length, with blanks for reasoning, control tokens, and everything after the end of a turn.

    Reasoning that is never closed reaches to the end. Marks inside a quoted literal of a statement do not count.
    """
    if (spoken := bare_response(answer)) is not None:
        answer = BLANK * spoken + answer[spoken:]
    if not any(sign in answer for sign in ("<", "[", "◁")):
        return answer
    marks = list(islice(MARK.finditer(answer), MAX_MARKS + 1))
    if len(marks) > MAX_MARKS:
        return BLANK * len(answer)
    return blanked(answer, marks) if marks else answer


def bare_response(answer: str) -> int | None:
    if BARE_CHANNEL.match(answer):
        place = answer.rfind(BARE_FINAL)
        return place + len(BARE_FINAL) if place >= 0 else len(answer)
    if SENTENCE.match(answer):
        found = RESPONSE.search(answer)
        return found.end() if found else len(answer)
    return None


class Literals:
    """Finds marks that are inside a literal of a statement."""

    def __init__(self, answer: str) -> None:
        self._answer = answer
        self._begun = 0
        self._found: Iterator[re.Match[str]] | None = None
        self._literal: re.Match[str] | None = None

    def forget(self) -> None:
        self._found = self._literal = None

    def hold(self, mark: re.Match[str], place: int) -> bool:
        """Whether a mark is inside a literal of a statement that begins after `place`, or of the last one seen.

        Marks must come from left to right.
        """
        if self._found is None:
            begin = STATEMENT.search(self._answer, max(0, place - 1), mark.start())
            if begin is None or QUOTE.search(self._answer, begin.end(), mark.start()) is None:
                return False
            self._begun += 1
            if self._begun > MAX_STATEMENTS:
                return False
            self._found = CLOSED.finditer(self._answer, begin.end())
            self._literal = next(self._found, None)
        while self._literal is not None and self._literal.end() <= mark.start():
            self._literal = next(self._found, None)
        return self._literal is not None and self._literal.start() <= mark.start()


def family(mark: re.Match[str]) -> tuple[str, bool] | None:
    """The kind of a reasoning mark and whether it closes; None for a control token."""
    kind = mark.lastgroup or ""
    if kind in ("turn", "other"):
        return None
    word = mark[kind].lower()
    if kind in ("inner", "gemma", "channel"):
        return kind, word in CLOSERS
    word = word.removeprefix("start_").removeprefix("begin_of_")
    return ("think" if word.startswith(("think", "thought")) else word), bool(mark[f"close_{kind}"])


def blanked(answer: str, marks: list[re.Match[str]]) -> str:
    closes: dict[str, list[int]] = {}
    for place, mark in enumerate(marks):
        if (kind := family(mark)) is not None and kind[1]:
            closes.setdefault(kind[0], []).append(place)
    literals = Literals(answer)
    pieces: list[str] = []
    copied, seen, number, started = 0, 0, 0, False
    while number < len(marks):
        mark = marks[number]
        held = literals.hold(mark, seen)
        seen = mark.end()
        if held:
            number += 1
            continue
        literals.forget()
        pieces.append(answer[copied : mark.start()])
        started = started or pieces[-1].strip().lower() not in ROLE
        kind = family(mark)
        if kind is None:
            if mark.lastgroup == "turn" and started:
                pieces.append(BLANK * (len(answer) - mark.start()))
                return "".join(pieces)
            # A box or a solution ends here: what follows is a new paragraph.
            pieces.append("\n\n".ljust(mark.end() - mark.start(), BLANK))
        elif kind[1]:
            # A closing mark alone: the chat template opened the reasoning, so everything before it goes.
            pieces, started = [BLANK * mark.end()], False
        else:
            after = next_after(closes.get(kind[0], []), number)
            if after is None:
                pieces.append(BLANK * (len(answer) - mark.start()))
                return "".join(pieces)
            number, seen = after, marks[after].end()
            pieces.append(BLANK * (seen - mark.start()))
        copied = seen
        number += 1
    return "".join([*pieces, answer[copied:]])


def next_after(places: list[int], number: int) -> int | None:
    """The first of the sorted places after `number`; earlier ones are removed from the list."""
    while places and places[0] <= number:
        places.pop(0)
    return places[0] if places else None
