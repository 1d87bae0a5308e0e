"""Questions over a user's database: the database as the writers show it, and an offline writer for it.

The offline writer asks simple questions over real tables, columns, keys and values. It reads the schema card alone, so
it knows at most three values a column. A small schema gives few different questions; then fewer are written than were
planned.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from services.synthesis.steering import ExampleSlot
from shared.catalog.databases import CardCache, ColumnCard, Scalar, SchemaCard, TableCard, read_uploads, upload_keys
from shared.contracts.records import Level, PromptStyle, Provenance, Split, WrittenExample
from shared.sampling import stable_seed
from shared.sql.prompt import render_cell, render_schema
from shared.storage.store import ObjectStore

STYLE = PromptStyle(comments=True, foreign_keys=True)
ROW_STEPS = (5, 3, 1, 0)  # sample rows a table, the most that fit
LARGEST_SCHEMA = 24_000  # characters; a larger schema is shown with fewer rows
VALUE_COLUMNS = 60  # columns listed with sample values
WRITER_VERSION = "own-grammar/1"
MAX_TRIES = 60  # draws for one example


@dataclass(frozen=True)
class UserDatabase:
    """A database to write for; `name` is the domain of its examples."""

    name: str
    card: SchemaCard

    @property
    def filled_tables(self) -> list[str]:
        # Nothing can be asked of empty tables.
        return [table.name for table in self.card.tables if table.row_count > 0]

    def render_schema(self) -> str:
        """The schema as all prompts show it, with as many sample rows as fit into `LARGEST_SCHEMA`."""
        text = ""
        for rows in ROW_STEPS:
            text = render_schema(self.card, rows, STYLE)
            if len(text) <= LARGEST_SCHEMA:
                break
        return text

    def render_values(self) -> str:
        lines = [
            f"{table.name}.{column.name}: {', '.join(render_cell(value) for value in column.samples)}"
            for table in self.card.tables
            for column in table.columns
            if column.samples
        ]
        return "\n".join(lines[:VALUE_COLUMNS]) or "none"


def load_user_databases(objects: ObjectStore, ids: Sequence[str]) -> list[UserDatabase]:
    """In the order of the spec. Raises `NotFoundError` for a missing one."""
    if not ids:
        return []
    catalog, keys = CardCache(objects), upload_keys(objects)
    uploads = read_uploads(objects, [keys[one] for one in ids if one in keys])
    names = {upload.id: upload.name for upload in uploads}
    return [UserDatabase(display_name(names.get(one), one), catalog.card(one)) for one in ids]


def display_name(file_name: str | None, database_id: str) -> str:
    words = PurePath(file_name).stem.replace("_", " ").strip() if file_name else ""
    return words or f"database {database_id[:8]}"


# ---- the offline writer ----


def write_for_user_databases(
    *, seed: int, split: Split, shard: int, slots: Sequence[ExampleSlot], databases: Sequence[UserDatabase]
) -> list[WrittenExample]:
    """An example for each slot for which a new one can be found."""
    seen: set[tuple[str, str]] = set()
    found = []
    for slot in slots:
        database = databases[slot.number % len(databases)]
        database_id = database.card.database_id
        # A generator for each example: what is skipped for one does not change the next.
        rng = random.Random(stable_seed("own", seed, split, shard, slot.number))
        for intent, question, sql in draw_questions(SchemaSampler(database.card, rng), slot.level):
            if (database_id, sql) in seen:
                continue
            seen.add((database_id, sql))
            found.append(
                WrittenExample(
                    domain=database.name,
                    split=split,
                    level=slot.level,
                    question=question,
                    sql=sql,
                    database_id=database_id,
                    provenance=Provenance(writer="grammar", writer_version=WRITER_VERSION, seed=seed, source=intent),
                )
            )
            break
    return found


def draw_questions(sampler: "SchemaSampler", level: Level) -> Iterator[tuple[str, str, str]]:
    """(intent, question, gold), up to `MAX_TRIES` of them."""
    for _ in range(MAX_TRIES):
        intent = sampler.rng.choice(INTENTS[level])
        try:
            yield (intent.__name__, *intent(sampler))
        except LookupError:  # the schema has nothing that this intent needs
            continue


LONGEST_VALUE = 40  # characters of a value inside a question
PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
# Borders of words inside userName and XMLFile.
HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
NUMBER = re.compile(r"INT|REAL|NUM|DEC|FLOAT|DOUBLE", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?([ T]\d{2}:\d{2}.*)?")
# Names of columns whose numbers or codes only name things, and of years.
ID_LIKE = re.compile(r"(^|_|\b)(id|no|nr|code|key|num|number|uuid|zip|phone|year)$", re.IGNORECASE)
# Every keyword of SQLite (sqlite.org/lang_keywords.html): quoting one that needs none does no harm.
RESERVED_LIST = """
ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC ATTACH AUTOINCREMENT BEFORE BEGIN BETWEEN BY CASCADE CASE
CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP
DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DESC DETACH DISTINCT DO DROP EACH ELSE END ESCAPE EXCEPT EXCLUDE EXCLUSIVE
EXISTS EXPLAIN FAIL FILTER FIRST FOLLOWING FOR FOREIGN FROM FULL GENERATED GLOB GROUP GROUPS HAVING IF IGNORE IMMEDIATE
IN INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN KEY LAST LEFT LIKE LIMIT MATCH
MATERIALIZED NATURAL NO NOT NOTHING NOTNULL NULL NULLS OF OFFSET ON OR ORDER OTHERS OUTER OVER PARTITION PLAN PRAGMA
PRECEDING PRIMARY QUERY RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT
ROLLBACK ROW ROWS SAVEPOINT SELECT SET TABLE TEMP TEMPORARY THEN TIES TO TRANSACTION TRIGGER UNBOUNDED UNION UNIQUE
UPDATE USING VACUUM VALUES VIEW VIRTUAL WHEN WHERE WINDOW WITH WITHOUT
"""
RESERVED = frozenset(RESERVED_LIST.split())


@dataclass(frozen=True)
class ForeignKeyLink:
    """A foreign key between two tables with rows."""

    child: TableCard
    column: str
    parent: TableCard
    key: str


@dataclass(frozen=True)
class SchemaSampler:
    """A database as intents draw from it. Draws raise `LookupError` where there is nothing to draw."""

    card: SchemaCard
    rng: random.Random

    def table(self) -> TableCard:
        return self.rng.choice([table for table in self.card.tables if table.row_count > 0])

    def link(self) -> ForeignKeyLink:
        # Names in SQLite do not depend on case.
        tables = {table.name.lower(): table for table in self.card.tables if table.row_count > 0}
        found = [
            ForeignKeyLink(child, key.column, tables[key.to_table.lower()], key.to_column)
            for child in tables.values()
            for key in child.foreign_keys
            if key.to_table.lower() in tables and key.to_table.lower() != child.name.lower()
        ]
        return self.rng.choice(found)

    def number(self, table: TableCard) -> ColumnCard:
        return self.rng.choice([column for column in describable_columns(table) if is_measure(column)])

    def word(self, table: TableCard, *, dates: bool = False) -> ColumnCard:
        """A column of words that does not name the rows; with `dates` also a column of dates."""
        name = label_column(table).name
        found = [one for one in describable_columns(table) if not is_measure(one) and one.name != name]
        return self.rng.choice([one for one in found if dates or not is_date(one)])

    def value(self, column: ColumnCard) -> Scalar:
        return self.rng.choice([one for one in column.samples if not isinstance(one, str) or is_usable_value(one)])


def is_usable_value(text: str) -> bool:
    # An ellipsis marks a sample that was cut: no row equals it.
    return 0 < len(text.strip()) <= LONGEST_VALUE and "…" not in text and "\n" not in text


def describable_columns(table: TableCard) -> list[ColumnCard]:
    """Columns that people speak of: no keys, and no numbers that only name things."""
    keys = {key.column.lower() for key in table.foreign_keys}
    return [
        one
        for one in table.columns
        if not one.primary_key and one.name.lower() not in keys and not ID_LIKE.search(one.name) and one.samples
    ]


def is_measure(column: ColumnCard) -> bool:
    """Whether the values are amounts: numbers by type and by value, and more than two of them."""
    numbers = all(isinstance(value, int | float) for value in column.samples)
    return bool(numbers and NUMBER.search(column.type) and len(column.samples) > 2)


def is_date(column: ColumnCard) -> bool:
    return all(isinstance(value, str) and DATE.fullmatch(value) for value in column.samples)


def spoken_condition(column: ColumnCard, value: Scalar) -> str:
    """A condition as people say it: `whose town is Ulm`, `that were bought on 2024-01-31`."""
    words = spoken_name(column.name)
    if is_date(column) and words.endswith((" on", " at")):
        return f"that were {words} {value}"
    return f"whose {words} is {value}"


def label_column(table: TableCard) -> ColumnCard:
    """The column that rows are called by: the first column of words, else the key, else the first column."""
    texts = [one for one in describable_columns(table) if any(isinstance(value, str) for value in one.samples)]
    words = [one for one in texts if not is_date(one)]
    keys = [one for one in table.columns if one.primary_key]
    return (words or keys or table.columns)[0]


def spoken_name(name: str) -> str:
    return " ".join(HUMPS.sub(" ", name).replace("_", " ").replace("-", " ").lower().split())


def plural_name(name: str) -> str:
    words = spoken_name(name)
    if words.endswith("s"):
        return words
    if words.endswith("y") and words[-2:-1] not in "aeiou":
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith(("x", "ch", "sh")) else f"{words}s"


def quote_name(name: str) -> str:
    if PLAIN_NAME.fullmatch(name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def sql_literal(value: Scalar) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


# ---- questions: what can be asked without knowing what the database means ----

Intent = Callable[[SchemaSampler], tuple[str, str]]


def names_where(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    column, name = sampler.word(table, dates=True), label_column(table)
    value = sampler.value(column)
    question = sampler.rng.choice(["Show the {0} of all {1} {2}.", "What is the {0} of the {1} {2}?"])
    where = f"WHERE {quote_name(column.name)} = {sql_literal(value)}"
    sql = f"SELECT {quote_name(name.name)} FROM {quote_name(table.name)} {where}"
    return question.format(spoken_name(name.name), plural_name(table.name), spoken_condition(column, value)), sql


def count_where(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    column = sampler.word(table, dates=True)
    value = sampler.value(column)
    question = sampler.rng.choice(["How many {0} are there {1}?", "Count the {0} {1}."])
    sql = f"SELECT COUNT(*) FROM {quote_name(table.name)} WHERE {quote_name(column.name)} = {sql_literal(value)}"
    return question.format(plural_name(table.name), spoken_condition(column, value)), sql


def extreme(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    column = sampler.number(table)
    function, word = sampler.rng.choice([("MAX", "highest"), ("MIN", "lowest"), ("AVG", "average")])
    question = f"What is the {word} {spoken_name(column.name)} of all {plural_name(table.name)}?"
    return question, f"SELECT {function}({quote_name(column.name)}) FROM {quote_name(table.name)}"


def different(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    column = sampler.word(table)
    question = f"Which different values of {spoken_name(column.name)} occur among the {plural_name(table.name)}?"
    return question, f"SELECT DISTINCT {quote_name(column.name)} FROM {quote_name(table.name)}"


def count_each(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    column = sampler.word(table)
    name = quote_name(column.name)
    question = f"How many {plural_name(table.name)} are there for each {spoken_name(column.name)}?"
    return question, f"SELECT {name}, COUNT(*) FROM {quote_name(table.name)} GROUP BY {name}"


def mean_each(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    column, number = sampler.word(table), sampler.number(table)
    name, many = quote_name(column.name), plural_name(table.name)
    question = f"What is the average {spoken_name(number.name)} of the {many} for each {spoken_name(column.name)}?"
    return question, f"SELECT {name}, AVG({quote_name(number.name)}) FROM {quote_name(table.name)} GROUP BY {name}"


def join_clause(link: ForeignKeyLink) -> str:
    # The child is T1 and the parent T2, as in the grammar's joins.
    on = f"T1.{quote_name(link.column)} = T2.{quote_name(link.key)}"
    return f"{quote_name(link.child.name)} AS T1 JOIN {quote_name(link.parent.name)} AS T2 ON {on}"


def by_parent(sampler: SchemaSampler) -> tuple[str, str]:
    link = sampler.link()
    column, name = sampler.word(link.parent, dates=True), label_column(link.child)
    value = sampler.value(column)
    question = (
        f"Give the {spoken_name(name.name)} of the {plural_name(link.child.name)} that belong to "
        f"{plural_name(link.parent.name)} {spoken_condition(column, value)}."
    )
    where = f"T2.{quote_name(column.name)} = {sql_literal(value)}"
    return question, f"SELECT T1.{quote_name(name.name)} FROM {join_clause(link)} WHERE {where}"


def count_children(sampler: SchemaSampler) -> tuple[str, str]:
    link = sampler.link()
    name = quote_name(label_column(link.parent).name)
    shown = spoken_name(label_column(link.parent).name)
    parents, children = plural_name(link.parent.name), plural_name(link.child.name)
    question = f"Show the {shown} of the {parents} that have {children}, and how many each has."
    return question, f"SELECT T2.{name}, COUNT(*) FROM {join_clause(link)} GROUP BY T2.{quote_name(link.key)}"


def above_mean(sampler: SchemaSampler) -> tuple[str, str]:
    table = sampler.table()
    number, name = quote_name(sampler.number(table).name), quote_name(label_column(table).name)
    source, many = quote_name(table.name), plural_name(table.name)
    # `number` and `name` are quoted as SQL needs it; the question is without quotes.
    question = (
        f"Which {many} have a {spoken_name(number)} above the average of all {many}? "
        f"Show {spoken_name(name)} and {spoken_name(number)}, the highest first."
    ).replace('"', "")
    sql = (
        f"SELECT {name}, {number} FROM {source} WHERE {number} > (SELECT AVG({number}) FROM {source}) "
        f"ORDER BY {number} DESC"
    )
    return question, sql


def childless(sampler: SchemaSampler) -> tuple[str, str]:
    link = sampler.link()
    name, key, column = quote_name(label_column(link.parent).name), quote_name(link.key), quote_name(link.column)
    shown = spoken_name(label_column(link.parent).name)
    question = f"Which {plural_name(link.parent.name)} have no {plural_name(link.child.name)} at all? Give the {shown}."
    sql = (
        f"SELECT {name} FROM {quote_name(link.parent.name)} WHERE {key} NOT IN "
        # NOT IN is never true if the list holds a NULL.
        f"(SELECT {column} FROM {quote_name(link.child.name)} WHERE {column} IS NOT NULL)"
    )
    return question, sql


def many_children(sampler: SchemaSampler) -> tuple[str, str]:
    link = sampler.link()
    least, word = sampler.rng.choice([(1, "one"), (2, "two"), (3, "three")])
    name, key = quote_name(label_column(link.parent).name), quote_name(link.key)
    question = (
        f"Which {plural_name(link.parent.name)} have more than {word} of the {plural_name(link.child.name)}? "
        f"Show the {spoken_name(label_column(link.parent).name)} and how many, the most first."
    )
    groups = f"GROUP BY T2.{key} HAVING COUNT(*) > {least} ORDER BY COUNT(*) DESC"
    sql = f"SELECT T2.{name}, COUNT(*) FROM {join_clause(link)} {groups}"
    return question, sql


INTENTS: Mapping[Level, Sequence[Intent]] = {
    "easy": (names_where, count_where, extreme, different),
    "medium": (count_each, mean_each, by_parent, count_children),
    "hard": (above_mean, childless, many_children),
}
