"""Benchmark questions as examples, and planted as leaks: paraphrased, with other literals, on renamed schemas."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from services.synthesis.gates.features import SchemaFacts, schema_facts
from shared.catalog.databases import ColumnCard, ForeignKeyCard, SchemaCard, TableCard
from shared.catalog.datasets import example_id
from shared.contracts.records import DatabaseScript, Example, Provenance
from tests.support.benchmarks import read_json

IMPORTED = Provenance(writer="imported", writer_version="1", seed=0, source="file:1")
INVENTED = Provenance(writer="llm", writer_version="strong-v1", seed=0, source="answers/1")
OPENINGS = ("Could you please tell me: {}", "I would like to know {}", "{} Answer with all rows.", "In our data, {}")
NAME = re.compile(r"[A-Za-z_]\w*")


def make(db: str, question: str, gold: str, *, own: bool = False, split: str = "train") -> Example:
    """One example on a database of that name."""
    return Example.model_validate(
        {
            "example_id": example_id(db, question, None, gold),
            "database_id": db,
            "domain": db,
            "split": split,
            "level": "easy",
            "question": question,
            "gold": gold,
            "provenance": INVENTED if own else IMPORTED,
        }
    )


def examples(name: str, *, question: str = "question", copy: str = "", split: str = "train") -> list[Example]:
    """A benchmark file; `copy` goes behind the names of its databases, as if each were stored a second time."""
    rows = read_json(name)
    return [make(row["db_id"] + copy, row[question], row["query"], split=split) for row in rows]


def card(entry: Mapping[str, Any], rename: Callable[[str], str] = str) -> SchemaCard:
    """A schema card of an entry of tables.json, all names through `rename`."""
    names, columns = entry["table_names_original"], entry["column_names_original"]
    links: dict[int, list[ForeignKeyCard]] = {}
    for child, parent in entry["foreign_keys"]:
        (at, column), (to, target) = columns[child], columns[parent]
        link = ForeignKeyCard(column=rename(column), to_table=rename(names[to]), to_column=rename(target))
        links.setdefault(at, []).append(link)
    keys = {one for key in entry["primary_keys"] for one in (key if isinstance(key, list) else [key])}
    tables = []
    for number, name in enumerate(names):
        own = [
            ColumnCard(name=rename(column), type=kind.upper(), primary_key=place in keys)
            for place, ((at, column), kind) in enumerate(zip(columns, entry["column_types"], strict=True))
            if at == number
        ]
        tables.append(
            TableCard(name=rename(name), ddl="", columns=own, foreign_keys=links.get(number, []), row_count=0)
        )
    return SchemaCard(database_id=entry["db_id"], tables=tables)


def script_card(name: str, script: DatabaseScript) -> SchemaCard:
    """A schema card of a script, by a plain SQLite connection."""
    connection = sqlite3.connect(":memory:")
    for statement in script.ddl:
        connection.execute(statement)
    tables = []
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [
            ColumnCard(name=column, type=kind.upper(), primary_key=bool(key))
            for _, column, kind, _, _, key in connection.execute(f'PRAGMA table_info("{table}")')
        ]
        links = [
            ForeignKeyCard(column=row[3], to_table=row[2], to_column=row[4] or "id")
            for row in connection.execute(f'PRAGMA foreign_key_list("{table}")')
        ]
        tables.append(TableCard(name=table, ddl="", columns=columns, foreign_keys=links, row_count=0))
    connection.close()
    return SchemaCard(database_id=name, tables=tables)


def schemas() -> dict[str, SchemaFacts]:
    """Facts of Spider's schemas by name, `NAME/copy` the same, `NAME/tables` and `NAME/all` renamed ones."""
    found: dict[str, SchemaFacts] = {}
    for entry in read_json("spider/tables.json"):
        name = entry["db_id"]
        found[name] = found[f"{name}/copy"] = schema_facts(card(entry))
        tables = {one.lower() for one in entry["table_names_original"]}
        found[f"{name}/tables"] = schema_facts(
            card(entry, lambda text, own=tables: other(text) if text.lower() in own else text)
        )
        found[f"{name}/all"] = schema_facts(card(entry, other))
    return found


def other(text: str) -> str:
    """Another name of the same make: letters moved on by thirteen."""
    return re.sub(r"[A-Za-z]", lambda match: turned(match.group()), text)


def turned(letter: str) -> str:
    first = ord("a") if letter.islower() else ord("A")
    return chr(first + (ord(letter) - first + 13) % 26)


def with_tables_renamed(found: Iterable[Example]) -> list[Example]:
    """The same questions, the tables in their SQL under other names."""
    names = {e["db_id"]: {one.lower() for one in e["table_names_original"]} for e in read_json("spider/tables.json")}
    return [make(f"{one.database_id}/tables", one.question, renamed(one.gold, names[one.database_id])) for one in found]


def with_all_renamed(found: Iterable[Example]) -> list[Example]:
    """Every name of the schema is another one, in the SQL and where the question says it (also in the plural)."""
    moved = []
    for entry in read_json("spider/tables.json"):
        names = {one.lower() for one in entry["table_names_original"]}
        names |= {column.lower() for _, column in entry["column_names_original"]}
        parts = {part for name in names for part in re.findall(r"[a-z]+", name) if len(part) > 2}
        moved += [
            make(f"{one.database_id}/all", renamed(one.question, parts), renamed(one.gold, names))
            for one in found
            if one.database_id == entry["db_id"]
        ]
    return moved


def renamed(text: str, names: set[str]) -> str:
    """A text with these words, and their plurals, under another name."""

    def changed(match: re.Match[str]) -> str:
        word = match.group()
        if word.lower() in names:
            return other(word)
        return other(word[:-1]) + "s" if word.endswith("s") and word[:-1].lower() in names else word

    return NAME.sub(changed, text)


def with_other_literals(found: Iterable[Example]) -> list[Example]:
    """Numbers and quoted texts of the SQL changed."""
    return [make(one.database_id, one.question, re.sub(r"(['\"])[^'\"]+\1|\b\d+\b", "'zz'", one.gold)) for one in found]


def by_template(found: Iterable[Example]) -> list[Example]:
    """The same questions with other openings."""
    return [
        make(one.database_id, OPENINGS[place % len(OPENINGS)].format(one.question), one.gold)
        for place, one in enumerate(found)
    ]
