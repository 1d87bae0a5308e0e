"""Dates, kept as ISO text: years and months out of them."""

from services.synthesis.grammar.draw import Draw, noun_slots, relation_slots
from services.synthesis.grammar.english import with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.parents import with_any
from services.synthesis.grammar.intents.rows import rows_where
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import Filling, NoFit, title_of

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
PARTS = {"year": ("%Y", "year"), "month": ("%Y-%m", "month (as YYYY-MM)")}


def dated(draw: Draw) -> tuple[Table, Column]:
    """A table with a date."""
    table = draw.table()
    return table, draw.column(table, ["date"])


def in_year(draw: Draw, column: Column) -> tuple[str, str, str]:
    """(text of the year, SQL test with a place for the alias, words); other years occur too."""
    years = sorted({str(value)[:4] for value in draw.world.values(column)})
    if len(years) < 2:
        raise NoFit
    year = draw.pick(years)
    text = draw.pick([f"whose {column.label} is in {year}", f"with {with_article(column.label)} in {year}"])
    return year, f"strftime('%Y', {{}}{column.name}) = {literal(year)}", text


def in_month(draw: Draw, column: Column) -> tuple[str, str]:
    """(SQL test with a place for the alias, words): the month of any year."""
    month = draw.pick(sorted({str(value)[5:7] for value in draw.world.values(column)}))
    text = f"whose {column.label} is in {MONTHS[int(month) - 1]} (month {month}) of any year"
    return f"strftime('%m', {{}}{column.name}) = {literal(month)}", text


@intent("easy", "date", weight=0.2)
def where_year(draw: Draw) -> Filling:
    """Rows of one year."""
    table, column = dated(draw)
    _, test, text = in_year(draw, column)
    return rows_where(table, draw.shown(table, skip=[column]), test.format(""), text)


@intent("medium", "date", weight=0.4)
def year_and(draw: Draw) -> Filling:
    """Rows of one year under a further condition."""
    table, column = dated(draw)
    _, test, text = in_year(draw, column)
    condition = draw.condition(table, skip=[column])
    shown = draw.shown(table, 1, 2, skip=[column, condition.column])
    filling = rows_where(table, shown, f"{condition.on()} AND {test.format('')}", f"{condition.text} and {text}")
    base = filling.contrasts[0]
    contrasts = (f"{base} WHERE {condition.on()}", f"{base} WHERE {test.format('')}")
    return Filling(filling.sql, filling.slots, contrasts=contrasts, form=filling.form)


@intent("hard", "date", weight=0.5)
def where_month(draw: Draw) -> Filling:
    """Rows of one month of any year, under a further condition or not."""
    table, column = dated(draw)
    test, text = in_month(draw, column)
    tests = test.format("")
    if draw.chance(0.5):
        condition = draw.condition(table, skip=[column])
        tests, text = f"{condition.on()} AND {tests}", f"{condition.text} and {text}"
    return rows_where(table, draw.shown(table, 1, 2, skip=[column]), tests, text)


@intent("hard", "date", "join", weight=0.6)
def of_year(draw: Draw) -> Filling:
    """Children of one year, with a condition on their parents."""
    relation = draw.relation()
    column = draw.column(relation.child, ["date"])
    _, test, text = in_year(draw, column)
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2, named=True, skip=[column])
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    where = f"{relation.column.of} {relation.parent.many} {condition.text}"
    slots = {**noun_slots(relation.child), **shown.slots, "first": where, "second": text}
    contrasts = (f"{base} WHERE {condition.on('T2.')}", f"{base} WHERE {test.format('T1.')}")
    sql = f"{base} WHERE {condition.on('T2.')} AND {test.format('T1.')}"
    return Filling(sql, slots, contrasts=contrasts, form="of_unknown")


@intent("hard", "date", "aggregate", "group", weight=0.8)
def by_period(draw: Draw) -> Filling:
    """Rows counted, or a number aggregated, by the year or the month of a date."""
    table, column = dated(draw)
    part = draw.pick(list(PARTS))
    pattern, words = PARTS[part]
    period = f"strftime('{pattern}', {column.name})"
    if len(draw.world.run(f"SELECT DISTINCT {period} FROM {table.name}")) < 2:
        raise NoFit
    value, said = "COUNT(*)", f"number of {table.many}"
    if draw.chance(0.6):
        measure = draw.measure(table)
        value, said = measure.on(), f"{measure.text} of the {table.many}"
    sql = f"SELECT {period}, {value} FROM {table.name} GROUP BY {period}"
    return Filling(sql, {**noun_slots(table), "period": part, "as": words, "label": column.label, "value": said})


@intent("hard", "date", "aggregate", "group", "order", "limit", weight=1.2)
def busiest_period(draw: Draw) -> Filling:
    """The year or the month with the most rows."""
    table, column = dated(draw)
    part = draw.pick(list(PARTS))
    pattern, words = PARTS[part]
    period = f"strftime('{pattern}', {column.name})"
    tail = f"FROM {table.name} GROUP BY {period} ORDER BY COUNT(*) DESC LIMIT"
    slots = {**noun_slots(table), "period": part, "as": words, "label": column.label}
    return Filling(f"SELECT {period} {tail} 1", slots, f"SELECT COUNT(*) {tail} 2")


@intent("hard", "date", "join", "aggregate", "group", weight=0.5)
def per_parent_in_year(draw: Draw) -> Filling:
    """Children of one year counted for each parent that has any of that year."""
    relation = draw.relation()
    column = draw.column(relation.child, ["date"])
    year, test, _ = in_year(draw, column)
    title = title_of(relation.parent)[0]
    base, group = f"SELECT T2.{title}, COUNT(*) {relation.joined}", f"GROUP BY T2.{relation.parent.key}"
    slots = {
        **relation_slots(relation),
        "any": with_any(draw, relation),
        "year": year,
        "label_a": with_article(column.label),
    }
    return Filling(f"{base} WHERE {test.format('T1.')} {group}", slots, contrasts=(f"{base} {group}",))
