"""Lines of files that programs write: JSON lines, metrics, event streams.

Only a line feed ends one. `str.splitlines` and `httpx`'s `iter_lines` also cut at U+2028, U+0085, form feeds and
others, which JSON leaves as they are inside its strings.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def lines_of(text: str) -> list[str]:
    """The lines without their ends, of which a carriage return is a part; nothing follows the last line feed."""
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    return lines if lines[-1] else lines[:-1]


def json_lines(data: bytes) -> list[Any]:
    """The value of every line that is not blank. Raises ValueError for what is not JSON, or not UTF-8."""
    return [json.loads(line) for line in lines_of(data.decode()) if line.strip()]


def arriving_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines as their bytes arrive; what is not UTF-8 is marked."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
