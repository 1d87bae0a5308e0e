"""Answers that are a JSON object in place of headings."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.synthesis.headings import NAMES

KEYS = {
    **NAMES,
    "database_schema": "schema",
    "create_tables": "schema",
    "create_statements": "schema",
    "insert": "rows",
    "insert_statements": "rows",
    "sample_data": "rows",
    "sample_rows": "rows",
    "external_knowledge": "evidence",
    "sql_query": "answer",
    "gold_sql": "answer",
    "natural_language_question": "question",
}
NESTED = ("ddl", "create", "create_statement", "sql", "statement", "tables", "inserts", "insert", "rows", "data")


def json_parts(text: str) -> dict[str, str] | None:
    """The parts of an answer that is JSON, fenced or bare; None where it is not, or is of another form."""
    try:
        return read_parts(text)
    except (ValueError, RecursionError):
        return None


def read_parts(text: str) -> dict[str, str] | None:
    """The same. Raises ValueError, and RecursionError for what is nested too deeply."""
    begin, end = text.find("{"), text.rfind("}")
    if not 0 <= begin < end or not text.lstrip("` \njson\t").startswith("{"):
        return None
    data = json.loads(text[begin : end + 1], strict=False)
    if isinstance(data, dict) and len(data) == 1 and isinstance(inner := next(iter(data.values())), dict):
        data = inner
    if not isinstance(data, dict):
        return None
    parts: dict[str, str] = {}
    for key, value in data.items():
        name = KEYS.get(str(key).strip().lower().replace(" ", "_").replace("-", "_"))
        if name is not None and (said := "\n".join(strings(value))).strip():
            parts.setdefault(name, said.strip())
    return parts or None


def strings(value: Any) -> Iterator[str]:
    """Every text of a value; statements of a list are kept apart."""
    if isinstance(value, str):
        yield value if "\n" in value or value.rstrip().endswith(";") or not is_statement(value) else f"{value};"
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, Mapping):
        for name in NESTED:
            yield from strings(value.get(name))


def is_statement(text: str) -> bool:
    """Whether it begins as a statement does."""
    return text.lstrip()[:6].upper() in ("CREATE", "INSERT")
