"""Rows of one table: which columns, under which conditions."""

from services.synthesis.grammar.draw import ORDERED, SHOWABLE, Condition, Draw, noun_slots
from services.synthesis.grammar.english import listing, with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.shown import Shown
from services.synthesis.grammar.world import Filling, NoFit


def select(table: Table, shown: Shown) -> str:
    """SELECT and FROM of one table."""
    return f"SELECT {shown.sql()} FROM {table.name}"


def rows_where(table: Table, shown: Shown, tests: str, where: str) -> Filling:
    """Columns of the rows that pass the tests."""
    base = select(table, shown)
    slots = {**noun_slots(table), **shown.slots, "where": where}
    return Filling(f"{base} WHERE {tests}", slots, contrasts=(base,), form=shown.form("rows"))


def under(draw: Draw, table: Table, condition: Condition, least: int, most: int) -> Filling:
    """Columns of the rows under one condition; the tested column is not shown, its value is known or given."""
    shown = draw.shown(table, least, most, skip=[condition.column])
    return rows_where(table, shown, condition.on(), condition.text)


def scope(draw: Draw, table: Table, chance: float) -> tuple[str, str, Condition | None]:
    """(words, WHERE clause, condition): all rows or those that meet a condition."""
    if not draw.chance(chance):
        return f"all {table.many}", "", None
    condition = draw.condition(table)
    return f"{table.many} {condition.text}", f" WHERE {condition.on()}", condition


@intent("easy", weight=0.4)
def list_one(draw: Draw) -> Filling:
    """The names of all rows, or another column row by row."""
    table = draw.table()
    shown = draw.shown(table)
    return Filling(select(table, shown), {**noun_slots(table), **shown.slots}, form=shown.form("list_one"))


@intent("medium", weight=0.7)
def project(draw: Draw) -> Filling:
    """Two to four columns of all rows."""
    table = draw.table()
    shown = draw.shown(table, 2, 4)
    return Filling(select(table, shown), {**noun_slots(table), **shown.slots}, form=shown.form("project"))


def look_up(draw: Draw, count: int) -> Filling:
    """Columns of the row with a given name."""
    table = draw.named()
    title = draw.column(table, ["title"])
    others = [column for column in table.columns if column.kind in SHOWABLE]
    if len(others) < count:
        raise NoFit
    wanted = draw.rng.sample(others, count)
    value = str(draw.pick(draw.world.values(title)))
    sql = f"SELECT {', '.join(c.name for c in wanted)} FROM {table.name} WHERE {title.name} = {literal(value)}"
    slots = {**noun_slots(table), "cols": listing([c.label for c in wanted]), "value": value}
    return Filling(sql, slots, form="lookup")


@intent("easy", weight=0.8)
def lookup(draw: Draw) -> Filling:
    """One column of the row with a given name."""
    return look_up(draw, 1)


@intent("medium", weight=0.5)
def lookup_columns(draw: Draw) -> Filling:
    """Two columns of the row with a given name."""
    return look_up(draw, 2)


@intent("easy", weight=3.5)
def where(draw: Draw) -> Filling:
    """One column under one condition."""
    table = draw.table()
    return under(draw, table, draw.condition(table), 1, 1)


@intent("medium", weight=1.4)
def where_columns(draw: Draw) -> Filling:
    """Two or three columns under one condition."""
    table = draw.table()
    return under(draw, table, draw.condition(table), 2, 3)


@intent("medium", weight=1.4)
def where_and(draw: Draw) -> Filling:
    """Rows under two conditions."""
    table = draw.table()
    first, second = draw.two_conditions(table)
    shown = draw.shown(table, 1, 2, skip=[first.column, second.column])
    base = select(table, shown)
    words = {"first": first.text, "second": second.text, "where": f"{first.text} and {second.text}"}
    return Filling(
        f"{base} WHERE {first.on()} AND {second.on()}",
        {**noun_slots(table), **shown.slots, **words},
        contrasts=(f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}"),
        form="where_and" if shown.named else "rows_each",
    )


@intent("medium", weight=0.7)
def where_or(draw: Draw) -> Filling:
    """Rows under at least one of two conditions."""
    table = draw.table()
    first, second = draw.two_conditions(table)
    shown = draw.shown(table, named=True)
    base = select(table, shown)
    slots = {**noun_slots(table), **shown.slots, "first": first.text, "second": second.text}
    contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}", base)
    return Filling(f"{base} WHERE {first.on()} OR {second.on()}", slots, contrasts=contrasts)


@intent("easy", "in", weight=0.13)
def where_in(draw: Draw) -> Filling:
    """Rows with one of two values."""
    table = draw.table()
    column, pair, text = one_of_two(draw, table)
    return rows_where(table, draw.shown(table, skip=[column]), f"{column.name} IN ({pair})", text)


def one_of_two(draw: Draw, table: Table) -> tuple[Column, str, str]:
    """(category, two of its values as a SQL list, words); there are more than two."""
    column = draw.column(table, ["category"])
    values = sorted(set(map(str, draw.world.values(column))))
    if len(values) < 3:
        raise NoFit
    pair = draw.rng.sample(values, 2)
    return column, ", ".join(map(literal, pair)), draw.category_text(column, listing(pair, "or"))


@intent("easy", weight=0.9)
def where_not(draw: Draw) -> Filling:
    """Rows without a given value."""
    table = draw.table()
    column = draw.column(table, ["category"])
    value = draw.pick(sorted(set(map(str, draw.world.values(column)))))
    text = draw.pick([f"whose {column.label} is not {value}", f"with {with_article(column.label)} other than {value}"])
    return rows_where(table, draw.shown(table, skip=[column]), f"{column.name} != {literal(value)}", text)


@intent("easy", "between", weight=1.1)
def between(draw: Draw) -> Filling:
    """Rows within a range, both ends included."""
    table = draw.table()
    condition = draw.between(draw.pick([column for column in table.columns if column.kind in ORDERED]))
    return under(draw, table, condition, 1, 1)


def name_pattern(draw: Draw, column: Column) -> tuple[str, str]:
    """(SQL test, words): a name that starts with a letter, ends with a word or contains one."""
    value = str(draw.pick(draw.world.values(column)))
    word = draw.pick(value.split())
    options = [(f"{value[0]}%", f"starts with {value[0]}")]
    if len(word) > 2 and " " in value:
        options += [(f"%{word}%", f"contains {word}")] * 2
    last = value.rsplit(maxsplit=1)[-1]
    if len(last) > 2 and " " in value:
        options.append((f"%{last}", f"ends with {last}"))
    pattern, text = draw.pick(options)
    return f"{column.name} LIKE {literal(pattern)}", f"whose {column.label} {text}"


@intent("medium", "like", weight=0.7)
def like(draw: Draw) -> Filling:
    """Rows whose name has a pattern."""
    table = draw.named()
    title = draw.column(table, ["title"])
    test, text = name_pattern(draw, title)
    shown = draw.shown(table, 1, 2) if draw.chance(0.7) else draw.shown(table, 1, 2, named=True)
    return rows_where(table, shown, test, text)


@intent("medium", "like", weight=0.4)
def like_and(draw: Draw) -> Filling:
    """Rows whose name has a pattern, under a further condition."""
    table = draw.named()
    test, text = name_pattern(draw, draw.column(table, ["title"]))
    condition = draw.condition(table)
    shown = draw.shown(table, skip=[condition.column])
    filling = rows_where(table, shown, f"{condition.on()} AND {test}", f"{condition.text} and {text}")
    base = filling.contrasts[0]
    contrasts = (f"{base} WHERE {condition.on()}", f"{base} WHERE {test}")
    return Filling(filling.sql, filling.slots, contrasts=contrasts, form=filling.form)
