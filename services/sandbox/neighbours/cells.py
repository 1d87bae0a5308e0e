"""Reading cells whose text may not be valid: each comes as its storage class and its bytes."""

from collections.abc import Sequence
from typing import Any

from services.sandbox.neighbours.values import RawText, Row, Value


def typed(names: Sequence[str]) -> str:
    """SQL for the cells of quoted columns, two results each: the storage class, and the value (text as a blob)."""
    return ", ".join(f"typeof({n}), iif(typeof({n}) = 'text', CAST({n} AS BLOB), {n})" for n in names)


def largest(names: Sequence[str]) -> str:
    """SQL for the size of a row's largest cell in bytes; a function takes a limited number of arguments."""
    sizes = [f"coalesce(octet_length({name}), 0)" for name in names]
    while len(sizes) > 1:
        sizes = [f"max(0, {', '.join(sizes[n : n + 50])})" for n in range(0, len(sizes), 50)]
    return sizes[0]


def decoded_row(row: Sequence[Any], encoding: str) -> Row:
    """A row that was read through `typed`."""
    return tuple(decoded(kind, cell, encoding) for kind, cell in zip(row[::2], row[1::2], strict=True))


def decoded(kind: str, cell: Any, encoding: str) -> Value:
    """One cell; text that is not valid in the database's encoding stays bytes."""
    if kind != "text":
        found: Value = cell
        return found
    try:
        return str(cell, encoding)
    except UnicodeDecodeError:
        return RawText(bytes(cell))
