"""One table: which columns of which rows, in which order."""

from collections.abc import Sequence

from services.synthesis.writers.grammar.database import FilledIntent, NoFit, literal
from services.synthesis.writers.grammar.domain import Column, Table, listing, with_article
from services.synthesis.writers.grammar.draw import ORDERED, SHOWABLE, Condition, Draw, ShownColumns, noun_slots
from services.synthesis.writers.grammar.intents import intent


def select(table: Table, shown: ShownColumns) -> str:
    return f"SELECT {shown.sql()} FROM {table.name}"


def rows_where(table: Table, shown: ShownColumns, tests: str, where: str) -> FilledIntent:
    base = select(table, shown)
    slots = {**noun_slots(table), **shown.slots, "where": where}
    return FilledIntent(f"{base} WHERE {tests}", slots, contrasts=(base,), form=shown.form("rows"))


def rows_under(draw: Draw, table: Table, condition: Condition, least: int, most: int) -> FilledIntent:
    """Shows other columns than the tested one, whose value is known or given."""
    shown = draw.shown(table, least, most, skip=[condition.column])
    return rows_where(table, shown, condition.on(), condition.text)


def under_both(base: str, first: str, second: str, slots: dict[str, str], form: str = "") -> FilledIntent:
    """The rows of a query that pass two tests. Neither test may be idle."""
    contrasts = (f"{base} WHERE {first}", f"{base} WHERE {second}")
    return FilledIntent(f"{base} WHERE {first} AND {second}", slots, contrasts=contrasts, form=form)


def rows_and(table: Table, shown: ShownColumns, condition: Condition, test: str, text: str) -> FilledIntent:
    slots = {**noun_slots(table), **shown.slots, "where": f"{condition.text} and {text}"}
    return under_both(select(table, shown), condition.on(), test, slots, shown.form("rows"))


def draw_scope(
    draw: Draw, table: Table, chance: float, skip: Sequence[Column] = ()
) -> tuple[str, str, Condition | None]:
    """(words, WHERE clause, condition): all rows or those that meet a condition."""
    if not draw.chance(chance):
        return f"all {table.many}", "", None
    condition = draw.condition(table, skip)
    return f"{table.many} {condition.text}", f" WHERE {condition.on()}", condition


@intent("easy", weight=0.4)
def list_one(draw: Draw) -> FilledIntent:
    table = draw.table()
    shown = draw.shown(table)
    return FilledIntent(select(table, shown), {**noun_slots(table), **shown.slots}, form=shown.form("list_one"))


@intent("medium", weight=0.7)
def project(draw: Draw) -> FilledIntent:
    table = draw.table()
    shown = draw.shown(table, 2, 4)
    return FilledIntent(select(table, shown), {**noun_slots(table), **shown.slots}, form=shown.form("project"))


def look_up(draw: Draw, count: int) -> FilledIntent:
    table = draw.named()
    title = draw.column(table, ["title"])
    others = [column for column in table.columns if column.kind in SHOWABLE]
    if len(others) < count:
        raise NoFit
    wanted = draw.rng.sample(others, count)
    value = str(draw.pick(draw.database.values(title)))
    sql = f"SELECT {', '.join(c.name for c in wanted)} FROM {table.name} WHERE {title.name} = {literal(value)}"
    slots = {**noun_slots(table), "cols": listing([c.label for c in wanted]), "value": value}
    return FilledIntent(sql, slots, form="lookup")


@intent("easy", weight=0.8)
def lookup(draw: Draw) -> FilledIntent:
    return look_up(draw, 1)


@intent("medium", weight=0.5)
def lookup_columns(draw: Draw) -> FilledIntent:
    return look_up(draw, 2)


@intent("easy", weight=3.5)
def where(draw: Draw) -> FilledIntent:
    table = draw.table()
    return rows_under(draw, table, draw.condition(table), 1, 1)


@intent("medium", weight=1.4)
def where_columns(draw: Draw) -> FilledIntent:
    table = draw.table()
    return rows_under(draw, table, draw.condition(table), 2, 3)


@intent("medium", weight=1.4)
def where_and(draw: Draw) -> FilledIntent:
    table = draw.table()
    first, second = draw.two_conditions(table)
    shown = draw.shown(table, 1, 2, skip=[first.column, second.column])
    words = {"first": first.text, "second": second.text, "where": f"{first.text} and {second.text}"}
    slots = {**noun_slots(table), **shown.slots, **words}
    form = "where_and" if shown.named else "rows_each"
    return under_both(select(table, shown), first.on(), second.on(), slots, form)


@intent("medium", weight=0.7)
def where_or(draw: Draw) -> FilledIntent:
    table = draw.table()
    first, second = draw.two_conditions(table)
    shown = draw.shown(table, named=True)
    base = select(table, shown)
    slots = {**noun_slots(table), **shown.slots, "first": first.text, "second": second.text}
    # OR must add rows on both sides and must not keep every row.
    contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}", base)
    return FilledIntent(f"{base} WHERE {first.on()} OR {second.on()}", slots, contrasts=contrasts)


@intent("easy", "in", weight=0.13)
def where_in(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, pair, text = one_of_two(draw, table)
    return rows_where(table, draw.shown(table, skip=[column]), f"{column.name} IN ({pair})", text)


def one_of_two(draw: Draw, table: Table) -> tuple[Column, str, str]:
    """(category, two of its values as a SQL list, words); there are more than two."""
    column = draw.column(table, ["category"])
    values = sorted(set(map(str, draw.database.values(column))))
    # With two values in all, the list would keep every row.
    if len(values) < 3:
        raise NoFit
    pair = draw.rng.sample(values, 2)
    return column, ", ".join(map(literal, pair)), draw.category_text(column, listing(pair, "or"))


@intent("easy", weight=0.9)
def where_not(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    value = draw.pick(sorted(set(map(str, draw.database.values(column)))))
    text = draw.pick([f"whose {column.label} is not {value}", f"with {with_article(column.label)} other than {value}"])
    return rows_where(table, draw.shown(table, skip=[column]), f"{column.name} != {literal(value)}", text)


@intent("easy", "between", weight=1.1)
def between(draw: Draw) -> FilledIntent:
    table = draw.table()
    condition = draw.between(draw.pick([column for column in table.columns if column.kind in ORDERED]))
    return rows_under(draw, table, condition, 1, 1)


def name_pattern(draw: Draw, column: Column) -> tuple[str, str]:
    """(SQL test, words): a name that starts with a letter, ends with a word or contains one."""
    value = str(draw.pick(draw.database.values(column)))
    word = draw.pick(value.split())
    options = [(f"{value[0]}%", f"starts with {value[0]}")]
    if len(word) > 2 and " " in value:
        # Twice, so that it is drawn as often as the other two together.
        options += [(f"%{word}%", f"contains {word}")] * 2
    last = value.rsplit(maxsplit=1)[-1]
    if len(last) > 2 and " " in value:
        options.append((f"%{last}", f"ends with {last}"))
    pattern, text = draw.pick(options)
    return f"{column.name} LIKE {literal(pattern)}", f"whose {column.label} {text}"


@intent("medium", "like", weight=0.7)
def like(draw: Draw) -> FilledIntent:
    table = draw.named()
    title = draw.column(table, ["title"])
    test, text = name_pattern(draw, title)
    shown = draw.shown(table, 1, 2) if draw.chance(0.7) else draw.shown(table, 1, 2, named=True)
    return rows_where(table, shown, test, text)


@intent("medium", "like", weight=0.4)
def like_and(draw: Draw) -> FilledIntent:
    table = draw.named()
    test, text = name_pattern(draw, draw.column(table, ["title"]))
    condition = draw.condition(table)
    shown = draw.shown(table, skip=[condition.column])
    return rows_and(table, shown, condition, test, text)


def topmost(draw: Draw, filtered: bool) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ORDERED)
    descending = draw.chance(0.6)
    tests, text, known = "", draw.superlative(column, descending, table.one), []
    if filtered:
        condition = draw.condition(table, skip=[column])
        known = [condition.column]
        tests, text = f" WHERE {condition.on()}", f"{text} among the {table.many} {condition.text}"
    shown = draw.shown(table, 1, 2, named=draw.chance(0.5), skip=known)
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'} LIMIT"
    # Two rows: a tie for the first place must show.
    keys = f"SELECT {column.name} FROM {table.name}{tail} 2"
    slots = {**noun_slots(table), **shown.slots, "sup": text}
    return FilledIntent(f"{select(table, shown)}{tail} 1", slots, keys, form="top")


@intent("medium", "order", "limit", weight=1.0)
def top(draw: Draw) -> FilledIntent:
    return topmost(draw, filtered=False)


@intent("hard", "order", "limit", weight=1.2)
def top_where(draw: Draw) -> FilledIntent:
    return topmost(draw, filtered=True)


def first_few(draw: Draw, filtered: bool) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ORDERED)
    descending, wanted = draw.chance(0.6), draw.rng.choice([2, 3, 4, 5])
    among, tests, known = "", "", []
    if filtered:
        condition = draw.condition(table, skip=[column])
        known = [condition.column]
        among, tests = f" among those {condition.text}", f" WHERE {condition.on()}"
    shown = draw.shown(table, 1, 2, named=True, skip=known)
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'} LIMIT"
    text = f"{wanted} {draw.superlative(column, descending, table.many)}{among}"
    slots = {**noun_slots(table), **shown.slots, "supn": text}
    slots["order"] = f"starting with the {column.extremes[descending]} {column.label}"
    # One row more than the LIMIT, so that a tie at its border shows.
    keys = f"SELECT {column.name} FROM {table.name}{tail} {wanted + 1}"
    if len(draw.database.run(keys)) < wanted:
        raise NoFit
    return FilledIntent(f"{select(table, shown)}{tail} {wanted}", slots, keys, form="top_n")


@intent("medium", "order", "limit", weight=0.9)
def top_n(draw: Draw) -> FilledIntent:
    return first_few(draw, filtered=False)


@intent("hard", "order", "limit", weight=0.8)
def top_n_where(draw: Draw) -> FilledIntent:
    return first_few(draw, filtered=True)


def spoken_direction(draw: Draw, column: Column, descending: bool) -> str:
    if column.kind == "title":
        return "in reverse alphabetical order" if descending else "alphabetically"
    low, high = column.extremes
    order = f"from {high} to {low}" if descending else f"from {low} to {high}"
    return draw.pick([order, "in descending order" if descending else "in ascending order"])


def in_order(draw: Draw, least: int, most: int, chance: float) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ("title", *ORDERED))
    descending = draw.chance(0.2 if column.kind == "title" else 0.6)
    words, tests, condition = draw_scope(draw, table, chance)
    shown = draw.shown(table, least, most, skip=[condition.column] if condition else [])
    slots = {**noun_slots(table), **shown.slots, "scope": words, "key": column.label}
    slots["each"] = f"each {table.one} {condition.text if condition else ''}".strip()
    slots["order"] = spoken_direction(draw, column, descending)
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'}"
    keys = f"SELECT {column.name} FROM {table.name}{tail}"
    return FilledIntent(select(table, shown) + tail, slots, keys, form=shown.form("ordered"))


@intent("easy", "order", weight=1.1)
def ordered(draw: Draw) -> FilledIntent:
    return in_order(draw, 1, 1, 0.0)


@intent("medium", "order", weight=1.0)
def ordered_columns(draw: Draw) -> FilledIntent:
    return in_order(draw, 2, 2, 0.6)


@intent("medium", "order", weight=0.5)
def ordered_twice(draw: Draw) -> FilledIntent:
    table = draw.table()
    first, second = draw.column(table, ["category"]), draw.column(table, ORDERED)
    descending = draw.chance(0.6)
    shown = draw.shown(table, 2, 3)
    tail = f" ORDER BY {first.name} ASC, {second.name} {'DESC' if descending else 'ASC'}"
    slots = {**noun_slots(table), **shown.slots, "cat": first.label, "key": second.label}
    slots["order"] = spoken_direction(draw, second, descending)
    keys = f"SELECT {first.name}, {second.name} FROM {table.name}{tail}"
    return FilledIntent(select(table, shown) + tail, slots, keys, form=shown.form("ordered_twice"))
