"""Which SQL features a query uses, for scores by feature: from sqlglot's tree, or else from its words."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.sql.parser import parse_one_sql
from shared.sql.tokens import OPAQUE

if TYPE_CHECKING:
    from sqlglot import exp

# In the order of reports.
FEATURE_LIST = """
join many_joins nested aggregate group having set_operation order limit distinct like between in exists case window cte
null date arithmetic
"""
FEATURES = tuple(FEATURE_LIST.split())
MANY_JOINS = 2  # and more: the feature `many_joins`
NESTED = re.compile(r"\(\s*(?:select|with)\b")
BRACKET = re.compile(r"[()]")
JOIN = re.compile(r"\bjoin\b")
FROM_LIST = re.compile(r"\bfrom\b((?:(?!\b(?:where|group|order|having|limit|union|intersect|except)\b)[^()])*)")
# For lower-case text without quoted parts.
WORDS = {
    "aggregate": re.compile(r"\b(?:count|sum|avg|min|max|total|group_concat)\s*\("),
    "group": re.compile(r"\bgroup\s+by\b"),
    "having": re.compile(r"\bhaving\b"),
    "set_operation": re.compile(r"\b(?:union|intersect|except)\b"),
    "order": re.compile(r"\border\s+by\b"),
    "limit": re.compile(r"\blimit\b"),
    "distinct": re.compile(r"\bdistinct\b"),
    "like": re.compile(r"\b(?:like|glob)\b"),
    "between": re.compile(r"\bbetween\b"),
    "in": re.compile(r"\bin\s*\("),
    "exists": re.compile(r"\bexists\s*\("),
    "case": re.compile(r"\bcase\b|\biif\s*\("),
    "window": re.compile(r"\bover\s*\(|\bover\s+\w"),
    "cte": re.compile(r"^\s*with\b"),
    "null": re.compile(r"\bis\s+(?:not\s+)?null\b|\b(?:isnull|notnull|not\s+null)\b|\b(?:coalesce|ifnull|nullif)\s*\("),
    "date": re.compile(
        r"\b(?:strftime|date|time|datetime|julianday|unixepoch|timediff)\s*\(|\bcurrent_(?:date|time|timestamp)\b"
    ),
    "arithmetic": re.compile(
        r"(?<=[\w)?])(?<!\bselect)(?<!\bdistinct)(?<!\bbetween)(?<!\band)(?<!\bor)(?<!\bwhen)(?<!\bthen)(?<!\belse)"
        r"(?<!\bby)(?<!\blimit)(?<!\bin)\s*(?:[+/%*]|-(?!-))\s*[\w(?]"
    ),
}


@dataclass(frozen=True)
class SqlFeatures:
    """`joins` counts joined tables beyond the first, `depth` the levels of nested queries.

    `used` holds names of FEATURES. `parsed` is False for features from words.
    """

    joins: int
    depth: int
    used: frozenset[str]
    parsed: bool


def sql_features(sql: str) -> SqlFeatures:
    """Never fails: what sqlglot cannot parse is described by its words."""
    from sqlglot.errors import SqlglotError

    try:
        tree = parse_one_sql(sql)
    except SqlglotError:
        return features_from_words(sql)
    return features_from_tree(tree, sql)


def bare_words(sql: str) -> str:
    """The text in lower case, with comments blanked and quoted parts replaced by `?`."""
    return OPAQUE.sub(lambda match: " " if match.lastgroup == "comment" else " ? ", sql).lower()


def combined(used: set[str], joins: int, depth: int, parsed: bool) -> SqlFeatures:
    counted = {"join": joins > 0, "many_joins": joins >= MANY_JOINS, "nested": depth > 0}
    return SqlFeatures(joins, depth, frozenset(used | {name for name, there in counted.items() if there}), parsed)


def features_from_words(sql: str) -> SqlFeatures:
    text = bare_words(sql)
    used = {name for name, rule in WORDS.items() if rule.search(text)}
    joins = len(JOIN.findall(text)) + sum(tables.count(",") for tables in FROM_LIST.findall(text))
    return combined(used, joins, depth_of_words(text), False)


def depth_of_words(text: str) -> int:
    starts = {match.start() for match in NESTED.finditer(text)}
    depth = deepest = 0
    open_brackets: list[bool] = []
    for bracket in BRACKET.finditer(text):
        if bracket.group() == "(":
            open_brackets.append(bracket.start() in starts)
            depth += open_brackets[-1]
            deepest = max(deepest, depth)
        elif open_brackets:
            depth -= open_brackets.pop()
    return deepest


def features_from_tree(tree: "exp.Expr", sql: str) -> SqlFeatures:
    """NULL handling and dates are found by words even here, because of their many spellings."""
    from sqlglot import exp

    kinds: dict[str, tuple[type[exp.Expr], ...]] = {
        "aggregate": (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.GroupConcat),
        "group": (exp.Group,),
        "having": (exp.Having,),
        "set_operation": (exp.SetOperation,),
        "order": (exp.Order,),
        "limit": (exp.Limit,),
        "distinct": (exp.Distinct,),
        "like": (exp.Like, exp.Glob),
        "between": (exp.Between,),
        "in": (exp.In,),
        "exists": (exp.Exists,),
        "case": (exp.Case, exp.If),
        "window": (exp.Window,),
        "cte": (exp.CTE,),
        "arithmetic": (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod),
    }
    nodes = list(tree.walk())
    used = {name for name, classes in kinds.items() if any(isinstance(node, classes) for node in nodes)}
    text = bare_words(sql)
    used |= {name for name in ("null", "date") if WORDS[name].search(text)}
    joins = sum(isinstance(node, exp.Join) for node in nodes)
    return combined(used, joins, depth_of_tree(nodes), True)


def depth_of_tree(nodes: "list[exp.Expr]") -> int:
    from sqlglot import exp

    deepest = 0
    for node in nodes:
        depth, parent = 0, node.parent if isinstance(node, exp.Select) else None
        while parent is not None:
            depth += isinstance(parent, exp.Select)
            parent = parent.parent
        deepest = max(deepest, depth)
    return deepest
