"""Messages between parent and child: four bytes of length (big endian), then that many bytes of JSON.

An empty frame is the word of a child with one task that it has read its request and starts on it.
"""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False)
HEADER = struct.Struct(">I")
STARTED = HEADER.pack(0)
MAX_FRAME = 256 * 1024 * 1024


def pack(message: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    """One message as bytes, its length first."""
    body = ENCODER.encode(message).encode("ascii")
    return HEADER.pack(len(body)) + body


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, however the pipe cuts it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_exactly(descriptor: int, size: int) -> bytes | None:
    """`size` bytes, or None when the other end closed first."""
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_message(descriptor: int) -> dict[str, Any] | None:
    """The next message of a blocking pipe, or None at its end."""
    header = read_exactly(descriptor, HEADER.size)
    if header is None:
        return None
    body = read_exactly(descriptor, HEADER.unpack(header)[0])
    message: dict[str, Any] | None = None if body is None else json.loads(body)
    return message
