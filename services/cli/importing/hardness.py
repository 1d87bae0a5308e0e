"""Hardness of Spider's and of own golds, measured as Spider's evaluator does; BIRD brings its own."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.cli.importing.questions import Question
from services.cli.importing.source import Source
from services.sandbox.pool import SandboxPool
from shared.contracts.records import Level
from shared.errors import InvalidInputError
from shared.sql.spider.hardness import measured_hardness
from shared.sql.spider.schema import SpiderSchema

Describe = Callable[[str], SpiderSchema]
LEVELS: dict[str, Level] = {
    **{"easy": "easy", "simple": "easy", "medium": "medium", "moderate": "medium"},
    **{"hard": "hard", "extra": "hard", "challenging": "hard", "beyond_spider": "hard"},
}


def level_of(hardness: str | None) -> Level:
    """One of our three levels."""
    return LEVELS.get(hardness or "", "medium")


class Measure:
    """Hardness by question; schemas come from tables.json, and from the file itself where that has no entry."""

    def __init__(self, source: Source, pool: SandboxPool) -> None:
        self.source, self.pool = source, pool
        self.entries = read_tables(source.tables) if source.tables else {}
        self.schemas: dict[str, SpiderSchema] = {}

    def of(self, question: Question) -> str | None:
        """What the file says, else what is measured; None for BIRD questions without difficulty."""
        if question.hardness is not None or self.source.asked.format in ("bird", "bird-mini"):
            return question.hardness
        return measured_hardness(question.gold, self.schema(question.db))

    def schema(self, name: str) -> SpiderSchema:
        """The schema of one database."""
        if name not in self.schemas:
            entry = self.entries.get(name)
            self.schemas[name] = self.listed(name) if entry is None else SpiderSchema.from_tables_json(entry)
        return self.schemas[name]

    def listed(self, name: str) -> SpiderSchema:
        """The schema that the file holds."""
        tables = self.pool.describe(self.source.databases.files[name], 0)
        return SpiderSchema.from_listing({one["name"]: [column["name"] for column in one["columns"]] for one in tables})


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of tables.json by database. Raises InvalidInputError naming the file, and the line where it breaks."""
    try:
        entries: Sequence[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8-sig"))
        return {str(entry["db_id"]): entry for entry in entries}
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path.name}, line {error.lineno}: this is not JSON ({error.msg})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} cannot be read as Spider's tables.json: {error}") from error
