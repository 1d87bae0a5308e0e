"""Usual values of a column, by its name and declared type: the n-th one of each is always the same."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from math import isfinite

from shared.catalog.databases import ColumnCard, TableCard
from shared.sql.tokens import tokens

Value = str | int | float | None

FIRST = (
    "Ana",
    "Ben",
    "Carla",
    "Dmitri",
    "Elif",
    "Farid",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Kaya",
    "Liam",
    "Mina",
    "Noor",
)
LAST = (
    "Alvarez",
    "Brandt",
    "Costa",
    "Dufour",
    "Eriksen",
    "Fontana",
    "Gruber",
    "Haddad",
    "Ivanov",
    "Jansen",
    "Kowalski",
)
CITIES = ("Porto", "Graz", "Lyon", "Bergen", "Izmir", "Kyoto", "Quito", "Accra", "Perth", "Austin", "Tampere")
COUNTRIES = ("Portugal", "Austria", "France", "Norway", "Turkey", "Japan", "Ecuador", "Ghana", "Australia", "Finland")
KINDS = ("standard", "premium", "basic", "special", "regular")
STATES = ("active", "pending", "closed", "new")
THINGS = ("North", "River", "Maple", "Summit", "Harbor", "Cedar", "Willow", "Granite", "Meadow", "Aurora", "Delta")
NAMED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"first_?name|given", FIRST),
    (r"last_?name|surname|family", LAST),
    (r"city|town|location|place", CITIES),
    (r"country|nation", COUNTRIES),
    (r"status|state", STATES),
    (r"type|category|kind|level|class|genre|sex|gender", KINDS),
)
INT_DIGITS = 19  # more do not fit into SQLite's whole numbers
FIRST_DAY = date(2019, 1, 14)
PEOPLE = re.compile(r"person|people|employee|student|customer|patient|author|member|teacher|user|guest|player|driver")
ABOUT_PEOPLE = re.compile(r"\bage\b|gender|\bsex\b|birth|salary")
UNIQUE_RULE = re.compile(r"\bUNIQUE\s*\(\s*[\"`\[]?(\w+)[\"`\]]?\s*\)", re.IGNORECASE)
ALLOWED = re.compile(r"CHECK\s*\(\s*[\"`\[]?(\w+)[\"`\]]?\s+IN\s*\(([^()]*)\)", re.IGNORECASE)
RANGE = re.compile(r"CHECK\s*\(\s*[\"`\[]?(\w+)[\"`\]]?\s+BETWEEN\s+(-?[\d.]+)\s+AND\s+(-?[\d.]+)", re.IGNORECASE)
LITERAL = re.compile(r"'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)")


def usual(table: TableCard, column: ColumnCard, place: int) -> Value:
    """The value of row `place`; different for each row where the column is a key."""
    rule = limits(table).get(column.name.lower())
    if rule is not None:
        return rule[place % len(rule)]
    name, kind = column.name.lower(), column.type
    if re.search(r"date|time(?!s)|_on$|_at$|birth|since", name) or kind.startswith(("DATE", "TIME")):
        return moment(kind if "YEAR" not in name.upper() else "INT", place)
    if any(part in kind for part in ("CHAR", "TEXT", "CLOB")) or (not kind and not column.primary_key):
        return text(table, column, place)
    if not column.primary_key and any(part in kind for part in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return round(12.5 + 37.25 * place, 2)
    if kind.startswith("BOOL"):
        return place % 2
    return whole(name, column.primary_key, place)


def moment(kind: str, place: int) -> Value:
    """A date, a time stamp, or a year where the column holds whole numbers."""
    day = FIRST_DAY + timedelta(days=97 * place)
    if "INT" in kind:
        return day.year
    return f"{day.isoformat()} 09:30:00" if "TIME" in kind else day.isoformat()


def whole(name: str, key: bool, place: int) -> int:
    """A whole number of the size that its name lets expect."""
    if key:
        return place + 1
    if "year" in name:
        return 2012 + place % 12
    if "age" in name:
        return 21 + 7 * place % 50
    return 3 + 11 * place


def text(table: TableCard, column: ColumnCard, place: int) -> str:
    """A text of the kind that its name lets expect."""
    name = column.name.lower()
    if column.primary_key:
        return f"{table.name[:3].upper()}{place + 1:03d}"
    if "mail" in name:
        return f"{FIRST[place % len(FIRST)]}.{LAST[place % len(LAST)]}@example.org".lower()
    if "phone" in name:
        return f"555-{1000 + 37 * place:04d}"
    known = next((words for pattern, words in NAMED if re.search(pattern, name)), None)
    if known is not None:
        return known[place % len(known)]
    if "name" in name and of_people(table):
        return f"{FIRST[place % len(FIRST)]} {LAST[(3 * place) % len(LAST)]}"
    return f"{THINGS[place % len(THINGS)]} {column.name.replace('_', ' ').lower()} {place + 1}"


def unique_columns(table: TableCard) -> set[str]:
    """Columns that are declared UNIQUE by themselves, in lower case."""
    found = {*declared_unique(table.ddl), *(name.lower() for name in UNIQUE_RULE.findall(table.ddl))}
    return {column.name.lower() for column in table.columns} & found


def declared_unique(ddl: str) -> Iterator[str]:
    """The first name of each part of a CREATE TABLE that says UNIQUE outside of brackets."""
    depth, name = 0, ""
    begins = False
    for kind, piece in tokens(ddl):
        if kind in ("blank", "comment"):
            continue
        if begins:
            name, begins = piece.strip("\"`[]'").lower(), False
        elif depth == 1 and piece.upper() == "UNIQUE":
            yield name
        depth += {"(": 1, ")": -1}.get(piece, 0)
        begins = depth == 1 and piece in "(,"


def of_people(table: TableCard) -> bool:
    """Whether a table seems to hold people: by its name, or by what it says of each."""
    if PEOPLE.search(table.name.lower()):
        return True
    return any(ABOUT_PEOPLE.search(column.name.lower()) for column in table.columns)


def limits(table: TableCard) -> dict[str, list[Value]]:
    """Values that simple CHECK constraints allow, by column in lower case."""
    found: dict[str, list[Value]] = {}
    for name, inside in ALLOWED.findall(table.ddl):
        found[name.lower()] = [read(*match) for match in LITERAL.findall(inside)] or [None]
    for name, low, high in RANGE.findall(table.ddl):
        try:
            begin, end = float(low), float(high)
        except ValueError:  # `1.2.3` looks like a number to the pattern
            continue
        if not isfinite(end - begin):
            continue
        steps = [begin + (end - begin) * part / 8 for part in range(1, 8)]
        found[name.lower()] = [int(step) if end - begin >= 8 else round(step, 2) for step in steps]
    return found


def read(quoted: str, written: str) -> Value:
    """One literal of a CHECK."""
    return number(written) if written else quoted.replace("''", "'")


def number(text: str) -> Value:
    """What a numeric literal stands for; None where no column can hold it."""
    try:
        value = int(text) if text.removeprefix("-").isdecimal() and len(text) < INT_DIGITS else float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
