"""Missing values and outer joins, parts of dates, CASE, and window functions."""

from services.synthesis.writers.grammar.database import Cell, FilledIntent, NoFit, literal, title_of
from services.synthesis.writers.grammar.domain import Column, Table, with_article
from services.synthesis.writers.grammar.draw import NUMBERS, ORDERED, Draw, category_slots, noun_slots, relation_slots
from services.synthesis.writers.grammar.intents import intent
from services.synthesis.writers.grammar.intents.join import with_any
from services.synthesis.writers.grammar.intents.select import draw_scope, rows_and, rows_where, under_both


def null_test(draw: Draw, table: Table) -> tuple[Column, str, str]:
    """(column, SQL test, words): a value is missing, or is not."""
    column = draw.pick([column for column in table.columns if column.missing])
    test, words = draw.pick(
        [("IS NULL", ("unknown", "missing", "not recorded")), ("IS NOT NULL", ("known", "on record", "recorded"))]
    )
    return column, f"{column.name} {test}", f"whose {column.label} is {draw.pick(words)}"


@intent("easy", "null", weight=0.22)
def null(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, test, text = null_test(draw, table)
    return rows_where(table, draw.shown(table, skip=[column]), test, text)


@intent("easy", "null", "aggregate", weight=0.12)
def null_count(draw: Draw) -> FilledIntent:
    table = draw.table()
    _, test, text = null_test(draw, table)
    base = f"SELECT COUNT(*) FROM {table.name}"
    return FilledIntent(f"{base} WHERE {test}", {**noun_slots(table), "where": text}, contrasts=(base,), form="count")


@intent("medium", "null", weight=0.5)
def null_and(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, test, text = null_test(draw, table)
    condition = draw.condition(table, skip=[column])
    shown = draw.shown(table, 1, 2, skip=[column, condition.column])
    return rows_and(table, shown, condition, test, text)


@intent("hard", "null", weight=0.5)
def coalesce(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    title, label = title_of(table)
    instead, said = ("'unknown'", "'unknown'") if column.sql_type == "TEXT" else ("0", "0")
    base = f"FROM {table.name}"
    words, tests, _ = draw_scope(draw, table, 0.6, skip=[column])
    sql = f"SELECT {title}, COALESCE({column.name}, {instead}) {base}{tests}"
    slots = {**noun_slots(table), "title": label, "label": column.label, "scope": words, "instead": said}
    return FilledIntent(sql, slots, contrasts=(f"SELECT {title}, {column.name} {base}{tests}",))


@intent("hard", "null", "aggregate", "group", weight=0.9)
def null_by_group(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    category = draw.column(table, ["category"], skip=[column])
    sql = f"SELECT {category.name}, COUNT(*) FROM {table.name} WHERE {column.name} IS NULL GROUP BY {category.name}"
    return FilledIntent(sql, {**noun_slots(table), **category_slots(category), "label": column.label})


@intent("hard", "null", "join", weight=0.5)
def of_unknown(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column, test, text = null_test(draw, relation.child)
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2, named=True, skip=[column])
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    where = f"{relation.column.of} {relation.parent.many} {condition.text}"
    slots = {**noun_slots(relation.child), **shown.slots, "first": where, "second": text}
    return under_both(base, condition.on("T2."), f"T1.{test}", slots)


@intent("hard", "null", "join", weight=0.5)
def outer_without(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    # Where every parent has children, the result would be empty.
    if not draw.database.childless(relation.column):
        raise NoFit
    shown = draw.shown(relation.parent, 1, 2, named=True)
    child, parent = relation.child, relation.parent
    base = f"SELECT {shown.sql('T1.')} FROM {parent.name} AS T1"
    join = f"LEFT JOIN {child.name} AS T2 ON T1.{parent.key} = T2.{relation.column.name}"
    sql = f"{base} {join} WHERE T2.{child.key} IS NULL"
    return FilledIntent(sql, {**relation_slots(relation), **shown.slots}, contrasts=(base,))


@intent("hard", "join", "aggregate", "group", weight=0.7)
def outer_count(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    # Where every parent has children, LEFT JOIN and JOIN give the same.
    if not draw.database.childless(relation.column):
        raise NoFit
    child, parent = relation.child, relation.parent
    title = title_of(parent)[0]
    tests, words = "", ""
    if draw.chance(0.5):
        condition = draw.condition(parent, foreign=child)
        tests, words = f" WHERE {condition.on('T1.')}", f" {condition.text}"
    join = f"JOIN {child.name} AS T2 ON T1.{parent.key} = T2.{relation.column.name}"
    base = f"SELECT T1.{title}, COUNT(T2.{child.key}) FROM {parent.name} AS T1"
    tail = f"{join}{tests} GROUP BY T1.{parent.key}"
    slots = {**relation_slots(relation), "where": words}
    return FilledIntent(f"{base} LEFT {tail}", slots, contrasts=(f"{base} {tail}",))


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
PARTS = {"year": ("%Y", "year"), "month": ("%Y-%m", "month (as YYYY-MM)")}


def dated(draw: Draw) -> tuple[Table, Column]:
    table = draw.table()
    return table, draw.column(table, ["date"])


def in_year(draw: Draw, column: Column) -> tuple[str, str, str]:
    """(text of the year, SQL test with a place for the alias, words); other years occur too."""
    years = sorted({str(value)[:4] for value in draw.database.values(column)})
    if len(years) < 2:
        raise NoFit
    year = draw.pick(years)
    text = draw.pick([f"whose {column.label} is in {year}", f"with {with_article(column.label)} in {year}"])
    return year, f"strftime('%Y', {{}}{column.name}) = {literal(year)}", text


def in_month(draw: Draw, column: Column) -> tuple[str, str]:
    """(SQL test with a place for the alias, words): the month of any year."""
    month = draw.pick(sorted({str(value)[5:7] for value in draw.database.values(column)}))
    text = f"whose {column.label} is in {MONTHS[int(month) - 1]} (month {month}) of any year"
    return f"strftime('%m', {{}}{column.name}) = {literal(month)}", text


@intent("easy", "date", weight=0.2)
def where_year(draw: Draw) -> FilledIntent:
    table, column = dated(draw)
    _, test, text = in_year(draw, column)
    return rows_where(table, draw.shown(table, skip=[column]), test.format(""), text)


@intent("medium", "date", weight=0.4)
def year_and(draw: Draw) -> FilledIntent:
    table, column = dated(draw)
    _, test, text = in_year(draw, column)
    condition = draw.condition(table, skip=[column])
    shown = draw.shown(table, 1, 2, skip=[column, condition.column])
    return rows_and(table, shown, condition, test.format(""), text)


@intent("hard", "date", weight=0.5)
def where_month(draw: Draw) -> FilledIntent:
    table, column = dated(draw)
    test, text = in_month(draw, column)
    tests = test.format("")
    if draw.chance(0.5):
        condition = draw.condition(table, skip=[column])
        tests, text = f"{condition.on()} AND {tests}", f"{condition.text} and {text}"
    return rows_where(table, draw.shown(table, 1, 2, skip=[column]), tests, text)


@intent("hard", "date", "join", weight=0.6)
def of_year(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column = draw.column(relation.child, ["date"])
    _, test, text = in_year(draw, column)
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2, named=True, skip=[column])
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    where = f"{relation.column.of} {relation.parent.many} {condition.text}"
    slots = {**noun_slots(relation.child), **shown.slots, "first": where, "second": text}
    return under_both(base, condition.on("T2."), test.format("T1."), slots, "of_unknown")


@intent("hard", "date", "aggregate", "group", weight=0.8)
def by_period(draw: Draw) -> FilledIntent:
    table, column = dated(draw)
    part = draw.pick(list(PARTS))
    pattern, words = PARTS[part]
    period = f"strftime('{pattern}', {column.name})"
    # With a single period the grouping is idle.
    if len(draw.database.run(f"SELECT DISTINCT {period} FROM {table.name}")) < 2:
        raise NoFit
    value, said = "COUNT(*)", f"number of {table.many}"
    if draw.chance(0.6):
        measure = draw.measure(table)
        value, said = measure.on(), f"{measure.text} of the {table.many}"
    sql = f"SELECT {period}, {value} FROM {table.name} GROUP BY {period}"
    return FilledIntent(sql, {**noun_slots(table), "period": part, "as": words, "label": column.label, "value": said})


@intent("hard", "date", "aggregate", "group", "order", "limit", weight=1.2)
def busiest_period(draw: Draw) -> FilledIntent:
    table, column = dated(draw)
    part = draw.pick(list(PARTS))
    pattern, words = PARTS[part]
    period = f"strftime('{pattern}', {column.name})"
    tail = f"FROM {table.name} GROUP BY {period} ORDER BY COUNT(*) DESC LIMIT"
    slots = {**noun_slots(table), "period": part, "as": words, "label": column.label}
    return FilledIntent(f"SELECT {period} {tail} 1", slots, f"SELECT COUNT(*) {tail} 2")


@intent("hard", "date", "join", "aggregate", "group", weight=0.5)
def per_parent_in_year(draw: Draw) -> FilledIntent:
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
    return FilledIntent(f"{base} WHERE {test.format('T1.')} {group}", slots, contrasts=(f"{base} {group}",))


BANDS = [("high", "low"), ("upper", "lower"), ("big", "small"), ("A", "B")]


def band(draw: Draw, table: Table) -> tuple[Column, str, Cell, tuple[str, str]]:
    """(number, CASE expression, bound, names of the two bands)."""
    column = draw.column(table, NUMBERS)
    bound = draw.pick(draw.bounds(column, draw.database.values(column)))
    upper, lower = draw.pick(BANDS)
    sql = f"CASE WHEN {column.name} >= {literal(bound)} THEN '{upper}' ELSE '{lower}' END"
    # Both bands must occur; otherwise the CASE is idle.
    if len(draw.database.run(f"SELECT DISTINCT {sql} FROM {table.name}")) < 2:
        raise NoFit
    return column, sql, bound, (upper, lower)


@intent("hard", "case", weight=0.5)
def banded(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, case, bound, (upper, lower) = band(draw, table)
    title, label = title_of(table)
    words, tests, _ = draw_scope(draw, table, 0.5)
    sql = f"SELECT {title}, {case} FROM {table.name}{tests}"
    slots = {**noun_slots(table), "title": label, "label": column.label, "bound": str(bound), "scope": words}
    slots["label_a"] = with_article(column.label)
    plain = f"SELECT {title}, '{upper}' FROM {table.name}{tests}", f"SELECT {title}, '{lower}' FROM {table.name}{tests}"
    return FilledIntent(sql, slots | {"upper": upper, "lower": lower}, contrasts=plain)


@intent("hard", "case", "aggregate", "group", weight=0.5)
def band_counts(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, case, bound, (upper, lower) = band(draw, table)
    value, said = "COUNT(*)", f"number of {table.many}"
    if draw.chance(0.5):
        other = draw.column(table, NUMBERS, skip=[column])
        value, said = f"AVG({other.name})", f"average {other.label}"
    sql = f"SELECT {case} AS band, {value} FROM {table.name} GROUP BY band"
    slots = {**noun_slots(table), "label": column.label, "bound": str(bound), "value": said}
    slots["label_a"] = with_article(column.label)
    return FilledIntent(sql, slots | {"upper": upper, "lower": lower})


@intent("hard", "case", "aggregate", weight=0.5)
def side_by_side(draw: Draw) -> FilledIntent:
    table = draw.table()
    first, second = draw.two_conditions(table)
    counts = [f"SUM(CASE WHEN {test.on()} THEN 1 ELSE 0 END)" for test in (first, second)]
    slots = {**noun_slots(table), "first": first.text, "second": second.text}
    sql = f"SELECT {', '.join(counts)} FROM {table.name}"
    row = draw.database.run(sql)[0]
    # Equal counts would hide exchanged columns, and a count of 0 says nothing.
    if row[0] == row[1] or 0 in row:
        raise NoFit
    return FilledIntent(sql, slots)


@intent("hard", "case", "aggregate", "arithmetic", weight=0.5)
def percentage(draw: Draw) -> FilledIntent:
    table = draw.table()
    words, tests, other = draw_scope(draw, table, 0.4)
    condition = draw.condition(table, skip=[other.column] if other else [])
    # 100.0 and not 100: SQLite divides integers without a fraction.
    share = f"100.0 * SUM(CASE WHEN {condition.on()} THEN 1 ELSE 0 END) / COUNT(*)"
    base = f"SELECT {share} FROM {table.name}"
    slots = {**noun_slots(table), "scope": words, "where": condition.text}
    # At 0 or 100 % the condition is idle; NULL means that there are no rows.
    if draw.database.run(base + tests)[0][0] in (0, 100, None):
        raise NoFit
    return FilledIntent(base + tests, slots, contrasts=(base,) if tests else ())


@intent("hard", "case", "join", "aggregate", "group", weight=0.6)
def per_parent_case(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    condition = draw.condition(relation.child, foreign=relation.parent)
    value = f"SUM(CASE WHEN {condition.on('T1.')} THEN 1 ELSE 0 END)"
    tail = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    slots = {**relation_slots(relation), "any": with_any(draw, relation), "where": condition.text}
    return FilledIntent(f"SELECT T2.{title}, {value} {tail}", slots, contrasts=(f"SELECT T2.{title}, COUNT(*) {tail}",))


@intent("hard", "window", "nested", "order", weight=0.6)
def best_of_each(draw: Draw) -> FilledIntent:
    table = draw.named()
    category, column = draw.column(table, ["category"]), draw.column(table, ORDERED)
    title, label = title_of(table)
    descending = draw.chance(0.6)
    columns = f"{category.name}, {title}, {column.name}"
    over = f"ROW_NUMBER() OVER (PARTITION BY {category.name} ORDER BY {column.name} {'DESC' if descending else 'ASC'})"
    sql = f"SELECT {columns} FROM (SELECT {columns}, {over} AS place FROM {table.name}) WHERE place = 1"
    # Among equal values ROW_NUMBER picks any row, so no category may hold a value twice.
    ties = f"SELECT 1 FROM {table.name} GROUP BY {category.name}, {column.name} HAVING COUNT(*) > 1"
    slots = {**noun_slots(table), **category_slots(category), "label": column.label}
    slots["sup"] = draw.superlative(column, descending, table.one)
    return FilledIntent(sql, slots | {"title": label}, ties=ties, contrasts=(f"SELECT {columns} FROM {table.name}",))


@intent("hard", "window", "nested", "join", "order", weight=0.6)
def best_of_parents(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column = draw.column(relation.child, ORDERED)
    (title, _), (owner, _) = title_of(relation.child), title_of(relation.parent)
    descending = draw.chance(0.6)
    over = f"PARTITION BY T2.{relation.parent.key} ORDER BY T1.{column.name} {'DESC' if descending else 'ASC'}"
    inner = f"SELECT T2.{owner} AS owner, T1.{title} AS item, ROW_NUMBER() OVER ({over}) AS place {relation.joined}"
    ties = f"SELECT 1 FROM {relation.child.name} GROUP BY {relation.column.name}, {column.name} HAVING COUNT(*) > 1"
    any_child = f" with at least one {relation.child.one}" if draw.database.childless(relation.column) else ""
    slots = {**relation_slots(relation), "sup": draw.superlative(column, descending, relation.child.one)}
    sql = f"SELECT owner, item FROM ({inner}) WHERE place = 1"
    return FilledIntent(sql, slots | {"any": any_child}, ties=ties, contrasts=(f"SELECT owner, item FROM ({inner})",))


@intent("hard", "window", "order", weight=0.5)
def ranks(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, NUMBERS)
    title, label = title_of(table)
    descending = draw.chance(0.7)
    order = f"ORDER BY {column.name} {'DESC' if descending else 'ASC'}"
    partition, within, ties = "", f"among all {table.many}", f"GROUP BY {column.name}"
    if draw.chance(0.6):
        category = draw.column(table, ["category"])
        partition, within = f"PARTITION BY {category.name} ", f"among the {table.many} of the same {category.label}"
        ties = f"GROUP BY {category.name}, {column.name}"
    sql = f"SELECT {title}, {column.name}, RANK() OVER ({partition}{order}) FROM {table.name}"
    slots = {**noun_slots(table), "title": label, "label": column.label, "within": within}
    slots["first"] = column.extremes[descending]
    return FilledIntent(sql, slots, ties=f"SELECT 1 FROM {table.name} {ties} HAVING COUNT(*) > 1")


@intent("hard", "window", "aggregate", weight=0.5)
def beside_average(draw: Draw) -> FilledIntent:
    table = draw.table()
    category, column = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    title, label = title_of(table)
    function, word = draw.pick([("AVG", "average"), ("MAX", "highest"), *([("SUM", "total")] if column.total else [])])
    base = f"SELECT {title}, {column.name}, {function}({column.name}) OVER (PARTITION BY {category.name})"
    sql = f"{base} FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(category), "title": label, "label": column.label, "word": word}
    whole = f"SELECT {title}, {column.name}, {function}({column.name}) OVER () FROM {table.name}"
    return FilledIntent(sql, slots, contrasts=(whole,))


@intent("hard", "window", "nested", "aggregate", weight=0.5)
def above_own_average(draw: Draw) -> FilledIntent:
    table = draw.table()
    category, column = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    title, label = title_of(table)
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    mean = f"AVG({column.name}) OVER (PARTITION BY {category.name}) AS mean"
    inner = f"SELECT {title}, {column.name}, {mean} FROM {table.name}"
    base = f"SELECT {title} FROM"
    contrasts = (
        f"{base} {table.name}",
        # the average of all rows in place of the category's
        f"{base} {table.name} WHERE {column.name} {sign} (SELECT AVG({column.name}) FROM {table.name})",
    )
    slots = {**noun_slots(table), **category_slots(category), "titles": noun_slots(table)["titles"], "title": label}
    slots |= {"label": column.label, "label_a": with_article(column.label), "above": word}
    return FilledIntent(f"{base} ({inner}) WHERE {column.name} {sign} mean", slots, contrasts=contrasts)


@intent("hard", "window", "aggregate", "order", weight=0.5)
def running_total(draw: Draw) -> FilledIntent:
    table = draw.table()
    date = draw.column(table, ["date", "year"])
    column = draw.pick([one for one in table.columns if one.total and not one.missing])
    words, tests, condition = draw_scope(draw, table, 0.5)
    if condition and condition.column in (date, column):
        raise NoFit
    over = f"SUM({column.name}) OVER (ORDER BY {date.name})"
    base = f"SELECT {date.name}, {column.name}, {over} FROM {table.name}"
    order = f" ORDER BY {date.name} ASC"
    slots = {**noun_slots(table), "date": date.label, "label": column.label, "scope": words}
    # Rows of equal dates share one running total (SQLite's default frame), so dates must differ.
    keys = f"SELECT {date.name} FROM {table.name}{tests}{order}"
    return FilledIntent(base + tests + order, slots, keys, contrasts=(base + order,) if tests else ())
