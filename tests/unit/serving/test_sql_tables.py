"""A schema that is too large for the model: its tables are named, so that a user can choose some."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.serving.sql.answering import MAX_LISTED_NAMES, SqlAnswerer, select_tables
from services.serving.sql.models import TOO_LONG, Completions, ListedModel, SamplingParams
from shared.api.sql import SqlRequest
from shared.catalog.databases import ColumnCard, SchemaCard, TableCard, ViewCard
from shared.contracts.records import Message
from shared.errors import InvalidInputError
from shared.storage.directory import DirectoryStore
from shared.storage.keys import card_key

DATABASE = "a" * 64


def card_of(count: int) -> SchemaCard:
    column = ColumnCard(name="id", type="INTEGER")
    tables = [
        TableCard(name=f"Table_{n}", ddl=f"CREATE TABLE Table_{n}(id INTEGER)", columns=[column], row_count=0)
        for n in range(count)
    ]
    view = ViewCard(name="totals", ddl="CREATE VIEW totals AS SELECT 1 AS id", columns=[column])
    return SchemaCard(database_id=DATABASE, tables=tables, views=[view])


class SmallEngine:
    """An engine whose model reads few characters."""

    def __init__(self, most: int) -> None:
        self.most, self.prompts = most, list[str]()

    async def models(self) -> Sequence[ListedModel]:
        return []

    async def write(self, model: str, messages: Sequence[Message], how: SamplingParams) -> Completions:
        text = messages[-1].content
        self.prompts.append(text)
        if len(text) > self.most:
            raise InvalidInputError("the prompt has too many tokens", code=TOO_LONG)
        return Completions(["SELECT 1"], 1, 1)


def ask(folder: Path, engine: Any, **more: Any) -> Any:
    objects = DirectoryStore(folder)
    objects.put(card_key(DATABASE), card_of(400).model_dump_json().encode())
    request = SqlRequest(question="How many?", database_id=DATABASE, model="base", **more)
    return asyncio.run(SqlAnswerer(objects, engine, None).answer(request))  # type: ignore[arg-type]


def test_the_error_names_tables_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ask(tmp_path, SmallEngine(500))
    said = refused.value.message
    assert refused.value.code == TOO_LONG
    assert "401 tables" in said and "--table NAME" in said and "Table_0, Table_1" in said
    assert f"and {401 - MAX_LISTED_NAMES} more" in said


def test_chosen_tables_stand_alone_in_the_prompt(tmp_path: Path) -> None:
    engine = SmallEngine(500)
    answer = ask(tmp_path, engine, tables=["table_7", "TOTALS"])
    assert answer.sql == "SELECT 1"
    assert engine.prompts[0].count("CREATE") == 2
    assert "Table_7(" in engine.prompts[0] and "CREATE VIEW totals" in engine.prompts[0]


def test_a_name_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'Table_7'"):
        select_tables(card_of(9), ["Tabel_7"])
    assert select_tables(card_of(9), []) == card_of(9)
