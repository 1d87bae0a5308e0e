"""Whether neighbours can count for a gold at all: its result must follow from the rows, on any rows."""

from collections.abc import Iterator, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.sandbox.neighbours.bare import bare_column, determined_result, own_aggregates
from services.sandbox.neighbours.surgery import order_probes, outline, tie_probes
from services.sandbox.text import tokens
from shared.sql.parser import parse_sql

Keys = Mapping[str, frozenset[str]]

CLOCKS = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp)
CHANCE = frozenset({"random", "randomblob", "last_insert_rowid", "changes", "total_changes"})
DATES = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1}
JOINING = frozenset({"group_concat", "string_agg", "json_group_array", "json_group_object"})
TIED_WINDOWS = (exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist)

__all__ = ["order_probes", "static_fault", "tie_probes"]


def static_fault(gold: str, keys: Keys | None = None) -> str | None:
    """Why no neighbour counts for this gold, or None: one word, from the text alone.

    `unreadable`, `nondeterministic`, `bare_column`, `inner_limit`, `scalar_subquery` (more than one row may come and
    SQLite takes the first), `window_order`, `aggregate_order`, `limit` (no sure place for tie probes). `keys` maps
    tables to the columns of their primary keys, both in lower case. In doubt there is a fault.
    """
    tree = parsed(gold)
    if tree is None:
        return "unreadable"
    if outermost_fault(tree, gold):
        return "limit"
    if any(kind == "word" and text.lower() in JOINING for kind, text in tokens(gold)):
        return "aggregate_order"
    return next(faults(tree, keys or {}), None)


def parsed(gold: str) -> exp.Query | None:
    """The tree of a single query, None for anything else."""
    try:
        trees = parse_sql(gold)
    except SqlglotError:
        return None
    statements = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    tree = statements[0] if len(statements) == 1 else None
    return tree if isinstance(tree, exp.Select | exp.SetOperation) else None


def outermost_fault(tree: exp.Query, gold: str) -> bool:
    """Whether the scan of the text and the tree see different clauses."""
    found = outline(gold)
    limit, order = tree.args.get("limit") is not None, tree.args.get("order") is not None
    return not found.sound or (found.limit is not None) != limit or (found.order is not None) != order


def faults(tree: exp.Query, keys: Keys) -> Iterator[str]:
    """All faults, those of the whole text first."""
    for node in tree.walk():
        if reads_clock(node):
            yield "nondeterministic"
        if isinstance(node, exp.Window) and not steady(node):
            yield "window_order"
    for select in tree.find_all(exp.Select):
        if bare_column(select, keys):
            yield "bare_column"
    for query in tree.find_all(exp.Select, exp.SetOperation):
        if query is not tree and not within_exists(query) and not single_row(query, keys):
            if query.args.get("limit") is not None or query.args.get("offset") is not None:
                yield "inner_limit"
            if is_scalar(query):
                yield "scalar_subquery"


def name_of(node: exp.Expr) -> str:
    """The name of a function that sqlglot has no class for."""
    return str(node.this).lower() if isinstance(node, exp.Anonymous) else ""


def reads_clock(node: exp.Expr) -> bool:
    """Whether a node gives another value tomorrow, or at random."""
    if isinstance(node, CLOCKS) or name_of(node) in CHANCE or isinstance(node, exp.Rand):
        return True
    if isinstance(node, exp.Literal):
        return bool(node.is_string) and str(node.this).strip().lower() in ("now", "localtime")
    if isinstance(node, exp.Column) and not node.table:
        return str(node.name).lower() in ("now", "current_date", "current_time", "current_timestamp")
    if not isinstance(node, exp.Func):
        return False
    name = name_of(node) or node.sql_name().lower()
    if isinstance(node, exp.TimeToStr | exp.StrToTime):
        return False
    return name in DATES and len(list(node.iter_expressions())) <= DATES[name]


def steady(window: exp.Window) -> bool:
    """Whether rows that tie in a window's order get the same value."""
    function = window.this
    if isinstance(function, TIED_WINDOWS) or name_of(function) in ("rank", "dense_rank", "percent_rank", "cume_dist"):
        return True
    frame = window.args.get("spec")
    by_rows = frame is not None and str(frame.args.get("kind", "")).upper() != "RANGE"
    return isinstance(function, exp.Count | exp.Sum | exp.Avg | exp.Min | exp.Max) and not by_rows


def within_exists(query: exp.Query) -> bool:
    """Whether only the presence of a row matters."""
    parent = query.parent
    while isinstance(parent, exp.Paren | exp.Subquery):
        parent = parent.parent
    return isinstance(parent, exp.Exists)


def is_scalar(query: exp.Query) -> bool:
    """Whether a subquery stands where one value is meant, so that SQLite takes its first row."""
    parent = query.parent
    if isinstance(parent, exp.SetOperation | exp.CTE | exp.In | exp.Exists):
        return False
    if not isinstance(parent, exp.Subquery):
        return True
    node: exp.Expr = parent
    while isinstance(node.parent, exp.Subquery | exp.Paren):
        node = node.parent
    if isinstance(node.parent, exp.In):
        return node.arg_key == "this"
    return not isinstance(node.parent, exp.From | exp.Join | exp.CTE | exp.SetOperation | exp.Exists)


def single_row(query: exp.Query, keys: Keys) -> bool:
    """Whether a query surely gives one row at most, or rows that are all the same."""
    if not isinstance(query, exp.Select):
        return False
    if query.args.get("group") is None and own_aggregates(query):
        return True
    return determined_result(query, keys)
