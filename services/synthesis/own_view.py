"""A schema card as the offline writer draws from it: tables, columns, keys and values, and how they are said."""

import random
import re
from dataclasses import dataclass

from shared.catalog.databases import ColumnCard, Scalar, SchemaCard, TableCard

LONGEST_VALUE = 40
PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
NUMBER = re.compile(r"INT|REAL|NUM|DEC|FLOAT|DOUBLE", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?([ T]\d{2}:\d{2}.*)?")
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
class Link:
    """A foreign key between two tables with rows."""

    child: TableCard
    column: str
    parent: TableCard
    key: str


@dataclass(frozen=True)
class View:
    """A database as intents draw from it. Draws raise `LookupError` where there is nothing to draw."""

    card: SchemaCard
    rng: random.Random

    def table(self) -> TableCard:
        """One with rows."""
        return self.rng.choice([table for table in self.card.tables if table.row_count > 0])

    def link(self) -> Link:
        """A key between two different tables with rows."""
        tables = {table.name.lower(): table for table in self.card.tables if table.row_count > 0}
        found = [
            Link(child, key.column, tables[key.to_table.lower()], key.to_column)
            for child in tables.values()
            for key in child.foreign_keys
            if key.to_table.lower() in tables and key.to_table.lower() != child.name.lower()
        ]
        return self.rng.choice(found)

    def number(self, table: TableCard) -> ColumnCard:
        """A column that measures something."""
        return self.rng.choice([column for column in said_columns(table) if measures(column)])

    def word(self, table: TableCard, *, dates: bool = False) -> ColumnCard:
        """A column of words that is not the one that names the rows; with `dates`, or one of dates."""
        name = label(table).name
        found = [one for one in said_columns(table) if not measures(one) and one.name != name]
        return self.rng.choice([one for one in found if dates or not dated(one)])

    def value(self, column: ColumnCard) -> Scalar:
        """A value that stands in the column as it is."""
        return self.rng.choice([one for one in column.samples if not isinstance(one, str) or usable(one)])


def usable(text: str) -> bool:
    """Short, on one line, and not cut by the card."""
    return 0 < len(text.strip()) <= LONGEST_VALUE and "…" not in text and "\n" not in text


def said_columns(table: TableCard) -> list[ColumnCard]:
    """Columns that people speak of: no keys and no numbers that only name things."""
    keys = {key.column.lower() for key in table.foreign_keys}
    return [
        one
        for one in table.columns
        if not one.primary_key and one.name.lower() not in keys and not ID_LIKE.search(one.name) and one.samples
    ]


def measures(column: ColumnCard) -> bool:
    """Whether its values are amounts: numbers by type and by value, and more than two of them."""
    numbers = all(isinstance(value, int | float) for value in column.samples)
    return bool(numbers and NUMBER.search(column.type) and len(column.samples) > 2)


def dated(column: ColumnCard) -> bool:
    """Whether its values are dates as text."""
    return all(isinstance(value, str) and DATE.fullmatch(value) for value in column.samples)


def clause(column: ColumnCard, value: Scalar) -> str:
    """A condition as people say it: `whose town is Ulm`, `that were bought on 2024-01-31`."""
    words = spoken(column.name)
    if dated(column) and words.endswith((" on", " at")):
        return f"that were {words} {value}"
    return f"whose {words} is {value}"


def label(table: TableCard) -> ColumnCard:
    """What rows are called by: the first column of words, else the key, else the first column."""
    texts = [one for one in said_columns(table) if any(isinstance(value, str) for value in one.samples)]
    words = [one for one in texts if not dated(one)]
    keys = [one for one in table.columns if one.primary_key]
    return (words or keys or table.columns)[0]


def spoken(name: str) -> str:
    """A name of the schema as words."""
    return " ".join(HUMPS.sub(" ", name).replace("_", " ").replace("-", " ").lower().split())


def plural(name: str) -> str:
    """A table's name as a plural."""
    words = spoken(name)
    if words.endswith("s"):
        return words
    if words.endswith("y") and words[-2:-1] not in "aeiou":
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith(("x", "ch", "sh")) else f"{words}s"


def quoted(name: str) -> str:
    """A name as SQL, in quotes where it needs them."""
    if PLAIN_NAME.fullmatch(name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    """A value as SQL."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
