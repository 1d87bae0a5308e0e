"""A schema as the official Spider evaluator sees it: lower-case names, and columns united by foreign keys."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from shared.errors import InvalidInputError

EVERY_COLUMN = "*"


class SpiderSchema:
    """Tables with their columns in order, in lower case. A column's name is `table.column`; all columns are `*`."""

    def __init__(
        self, tables: Mapping[str, Sequence[str]], columns: Sequence[str] = (), keys: Iterable[tuple[int, int]] = ()
    ) -> None:
        """`columns` are full names in the order of tables.json; `keys` are pairs of places in it: foreign, primary."""
        self.tables = {name.lower(): tuple(column.lower() for column in found) for name, found in tables.items()}
        self.columns = tuple(columns)
        self.keys = tuple(keys)
        self.itself = {name: name for name in self.tables}
        self.known = frozenset(
            [EVERY_COLUMN, *self.tables, *(f"{table}.{name}" for table, names in self.tables.items() for name in names)]
        )

    @classmethod
    def from_tables_json(cls, entry: Mapping[str, Any]) -> "SpiderSchema":
        """From one entry of tables.json. Raises `InvalidInputError` if it lacks a part."""
        columns, keys = listed_columns(entry)
        tables: dict[str, list[str]] = {name: [] for name in entry["table_names_original"]}
        names = entry["table_names_original"]
        for place, column in entry["column_names_original"]:
            if place >= 0:
                tables[names[place]].append(column)
        return cls(tables, columns, keys)

    @classmethod
    def from_listing(
        cls, tables: Mapping[str, Sequence[str]], entry: Mapping[str, Any] | None = None
    ) -> "SpiderSchema":
        """From the tables of the database file, which is what the official code reads.

        Foreign keys come from the entry of tables.json; without one, no columns are united.
        """
        return cls(tables) if entry is None else cls(tables, *listed_columns(entry))

    @cached_property
    def united(self) -> dict[str, str]:
        """Column -> the first column of its foreign-key set, by the official rule.

        A key joins the first set that holds either end; sets are never joined later, and two keys of one table to the
        same column fall together (test-suite-sql-eval issue 7).
        """
        sets: list[set[int]] = []
        for pair in self.keys:
            found = next((one for one in sets if not one.isdisjoint(pair)), None)
            if found is None:
                sets.append(found := set())
            found.update(pair)
        return {self.columns[place]: self.columns[min(one)] for one in sets for place in sorted(one)}

    @cached_property
    def united_apart(self) -> dict[str, str]:
        """Like `united`, with overlapping sets joined, and without `contested` columns."""
        return {name: first for name, (first, contested) in self._key_sets.items() if not contested}

    @cached_property
    def contested(self) -> dict[str, str]:
        """Foreign keys that share their set with another column of their table -> the set's first other column.

        Home and away team are two things; only a query that joins one of them shows which one is meant.
        """
        return {name: first for name, (first, contested) in self._key_sets.items() if contested}

    @cached_property
    def _key_sets(self) -> dict[str, tuple[str, bool]]:
        """Column -> the first column of its set that is not contested, and whether the column itself is."""
        foreign = {pair[0] for pair in self.keys}
        found: dict[str, tuple[str, bool]] = {}
        for group in joined_sets(self.keys):
            tables = Counter(self.columns[place].partition(".")[0] for place in group)
            flags = [place in foreign and tables[self.columns[place].partition(".")[0]] > 1 for place in group]
            first = next((place for place, flag in zip(group, flags, strict=True) if not flag), group[0])
            found |= {
                self.columns[place]: (self.columns[first], flag) for place, flag in zip(group, flags, strict=True)
            }
        return found


def joined_sets(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    sets: list[set[int]] = []
    for pair in pairs:
        # Unlike the official rule, a key that touches two sets joins them.
        touched = [one for one in sets if not one.isdisjoint(pair)]
        sets = [one for one in sets if one.isdisjoint(pair)] + [set(pair).union(*touched)]
    return sorted(sorted(one) for one in sets)


def listed_columns(entry: Mapping[str, Any]) -> tuple[list[str], list[tuple[int, int]]]:
    """Column names and foreign keys of an entry of tables.json. Raises `InvalidInputError` if a part is missing."""
    try:
        tables = entry["table_names_original"]
        columns = [
            f"{tables[place]}.{name}".lower() if place >= 0 else EVERY_COLUMN
            for place, name in entry["column_names_original"]
        ]
        keys = [(int(foreign), int(primary)) for foreign, primary in entry["foreign_keys"]]
        if any(not 0 <= place < len(columns) for pair in keys for place in pair):
            raise IndexError("a foreign key names a column that is not there")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        name = entry.get("db_id", "?") if isinstance(entry, Mapping) else "?"
        raise InvalidInputError(
            f"entry {name} of tables.json cannot be read ({error}); give the file that came with the benchmark"
        ) from error
    return columns, keys


def schemas_by_name(entries: Iterable[Mapping[str, Any]]) -> dict[str, SpiderSchema]:
    return {str(entry["db_id"]): SpiderSchema.from_tables_json(entry) for entry in entries}
