"""Reads what callers send: JSON, or YAML without aliases, as plain data that JSON can hold."""

import json
from typing import Any

import yaml
from fastapi import Request

from services.gateway.problems import MediaTypeError
from shared.errors import InvalidInputError

JSON_TYPES = frozenset({"application/json"})
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})


class PlainLoader(yaml.SafeLoader):
    """Without aliases: a few bytes of them can stand for more data than fits in memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses an alias, with its place."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not read here; write the value out", mark)
        return super().compose_node(parent, index)


def media_type(request: Request) -> str:
    """The body's type, lower case, without parameters."""
    return request.headers.get("content-type", "application/json").split(";")[0].strip().lower()


async def read_spec_body(request: Request) -> object:
    """The body as data. Raises `MediaTypeError` for other types, `InvalidInputError` for what cannot be read."""
    kind = media_type(request)
    if kind not in JSON_TYPES | YAML_TYPES:
        raise MediaTypeError(f"a spec is application/json or application/yaml, not {kind}")
    return load(await request.body(), is_json=kind in JSON_TYPES)


def load(body: bytes, *, is_json: bool) -> object:
    """Data that JSON can hold: no infinite numbers, dates or half characters. Raises `InvalidInputError`."""
    name = "JSON" if is_json else "YAML"
    try:
        text = body.decode()
        data = json.loads(text) if is_json else yaml.load(text, Loader=PlainLoader)
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise InvalidInputError(f"the body is not YAML{place}: {reason}", code="unreadable_body") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(f"the body is not {name} that can be used: {error}", code="unreadable_body") from error
    return data
