"""JSON and YAML from people, read at a bounded cost into data that JSON can hold.

YAML follows the core schema of version 1.2: `on`, `off`, `yes`, `no` and `1_000` are strings. Aliases (a few bytes can
stand for more data than fits in memory), tags and duplicate keys are rejected. libyaml parses event by event, so that
nothing beyond the limits is built.
"""

import json
import re
from typing import Any

import yaml

from shared.errors import InvalidInputError

MAX_VALUES = 3_000  # in one text: keys, strings, numbers, lists
MAX_ENGINE_VALUES = 50_000  # in a request to a model, whose prompt may be a list of tokens
MAX_DEPTH = 50
UNREADABLE = "unreadable_body"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Each entry of a list or mapping follows a bracket or a comma. Strings match whole, so signs in them do not count.
JSON_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
WHOLE = re.compile(r"[-+]?[0-9]+")
OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NO_NUMBERS = {f"{sign}.{name}": float(name) for sign in ("", "-", "+") for name in ("inf", "Inf", "INF", "nan", "NaN")}


def read_json(body: bytes, what: str = "the body") -> object:
    """Raises `InvalidInputError` (code unreadable_body)."""
    try:
        check_json(body, what)
        # Writing it again rejects what parses but cannot be stored: NaN, infinities, halves of surrogate pairs.
        data = json.loads(body.decode())
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{what} is not JSON that can be used: {error}", code=UNREADABLE) from error
    return data


def read_yaml(body: bytes, what: str = "the body") -> object:
    """Raises `InvalidInputError` (code unreadable_body) with the place of the fault."""
    try:
        data = Builder(what).build(yaml.parse(body.decode(), Loader=LOADER))
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise InvalidInputError(f"{what} is not YAML{place}: {reason}", code=UNREADABLE) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{what} is not YAML that can be used: {error}", code=UNREADABLE) from error
    return data


def check_json(body: bytes | bytearray, what: str = "the body", most: int = MAX_VALUES) -> None:
    """Raises `InvalidInputError` for JSON with too many values or levels, before any of it is built.

    A megabyte of them takes a parser 50 ms and a validator seconds; this stops at the first one too many. Invalid JSON
    is left to the parser.
    """
    seen, depth = 1, 0
    for mark in JSON_MARK.finditer(body):
        sign = mark.group()[:1]
        if sign in b"[{":
            depth += 1
        elif sign in b"]}":
            depth -= 1
            continue
        elif sign == b'"':
            continue
        seen += 1
        if seen > most:
            raise too_many(what, most)
        if depth > MAX_DEPTH:
            raise too_deep(what)


def too_many(what: str, most: int = MAX_VALUES) -> InvalidInputError:
    return InvalidInputError(f"{what} holds more than {most:,} values; send less at once", code=UNREADABLE)


def too_deep(what: str) -> InvalidInputError:
    return InvalidInputError(f"{what} is nested deeper than {MAX_DEPTH} levels", code=UNREADABLE)


class Builder:
    """Builds data from YAML events, without recursion."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.open: list[tuple[Any, list[str]]] = []  # open lists and mappings, each with the key that has no value yet
        self.root: Any = None
        self.values = self.documents = 0

    def build(self, events: Any) -> Any:
        """The one document's data; None if there is none. Raises `YAMLError`, `InvalidInputError`."""
        for event in events:
            match event:
                case yaml.AliasEvent():
                    raise refused(event, "aliases are not read here; write the value out")
                case yaml.DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        raise refused(event, "there is a second document; send one at a time")
                case yaml.ScalarEvent():
                    self.scalar(event)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self.begin(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self.open.pop()
        return self.root

    def begin(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{'map' if mapping else 'seq'}"):
            raise refused(event, "tags are not read here")
        value: Any = {} if mapping else []
        self.place(event, value)
        self.open.append((value, []))
        if len(self.open) > MAX_DEPTH:
            raise too_deep(self.what)

    def scalar(self, event: Any) -> None:
        if event.tag is not None and event.tag not in TEXT_TAGS:
            raise refused(event, "tags are not read here")
        if self.open and isinstance(self.open[-1][0], dict) and not self.open[-1][1]:
            inside, waiting = self.open[-1]
            if event.value in inside:
                raise refused(event, f"the key {event.value[:60]!r} stands here twice")
            self.count()
            waiting.append(event.value)
            inside[event.value] = None  # keeps the key's place until its value comes
            return
        # Only plain scalars have a type; anything in quotes is a string.
        plain = event.implicit[0] and event.tag is None
        self.place(event, resolved(event.value) if plain else event.value)

    def place(self, event: Any, value: Any) -> None:
        self.count()
        if not self.open:
            self.root = value
            return
        inside, waiting = self.open[-1]
        if isinstance(inside, list):
            inside.append(value)
        elif waiting:
            inside[waiting.pop()] = value
        else:
            raise refused(event, "a key is a list or a mapping; it must be a text")

    def count(self) -> None:
        self.values += 1
        if self.values > 2 * MAX_VALUES:  # keys count as well
            raise too_many(self.what)


def refused(event: Any, reason: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=event.start_mark)


def resolved(text: str) -> Any:
    """The value of a plain scalar in YAML 1.2's core schema."""
    if text in NULLS:
        return None
    if text in BOOLS:
        return BOOLS[text]
    if WHOLE.fullmatch(text):
        return int(text)
    if OTHER_BASE.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if DECIMAL.fullmatch(text):
        return float(text)
    return NO_NUMBERS.get(text, text)
