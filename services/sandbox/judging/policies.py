"""The policies: how each reads a SQL text, and which rule it compares results by.

`strict` is ours. `spider` and `bird` agree with the official evaluators, faults included (test-suite-sql-eval@e97acc5
and bird-bench/mini_dev). They differ from those in two ways: nothing is ever written, and what runs past its deadline
is a `timeout`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from services.sandbox.execution.sql_text import has_outer_order_by
from services.sandbox.judging.comparison import ComparisonRule
from shared.contracts.records import Policy
from shared.sql.tokens import tokens

# Spider's evaluator joins these before it runs a text.
SPLIT_OPERATORS = (("> =", ">="), ("< =", "<="), ("! =", "!="))
CURRENT_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ConfiguredPolicy:
    """A policy with its options. `version` goes up when equal inputs may give another verdict."""

    name: Policy = Policy.STRICT
    keep_distinct: bool = False
    any_column_order: bool = True
    version: int = 1

    def gold_text(self, sql: str) -> str:
        return spider_text(sql, self.keep_distinct) if self.name is Policy.SPIDER else sql

    def candidate_text(self, sql: str) -> str:
        """Spider's evaluator takes `value` for a placeholder, wherever it stands."""
        if self.name is not Policy.SPIDER:
            return sql
        return spider_text(sql.replace("value", "1"), self.keep_distinct)

    def rule(self, gold_text: str) -> ComparisonRule:
        if self.name is Policy.BIRD:
            return ComparisonRule("set", exact=True, any_column_order=False, text_errors="strict")
        if self.name is Policy.SPIDER:
            # as in the official evaluator: also inside a subquery or a text
            ordered = "order by" in gold_text.lower()
            return ComparisonRule("list" if ordered else "bag", exact=True, keyed=True, text_errors="ignore")
        return ComparisonRule(
            "list" if has_outer_order_by(gold_text) else "bag", any_column_order=self.any_column_order
        )

    def quirks(self, gold: str, candidate: str) -> tuple[str, ...]:
        """What the official evaluator does here and `strict` does not: each may change this verdict."""
        if self.name is Policy.STRICT:
            return ()
        if self.name is Policy.BIRD:
            return ("order_ignored", "duplicates_ignored") if has_outer_order_by(gold) else ("duplicates_ignored",)
        both = f"{gold}\n{candidate}"
        found = {
            "value_replaced": "value" in candidate,
            "operators_joined": any(apart in both for apart, _ in SPLIT_OPERATORS),
            "distinct_removed": not self.keep_distinct and "distinct" in both.lower(),
            "later_statements_dropped": not self.keep_distinct and ";" in candidate.rstrip().rstrip(";"),
            "year_replaced": CURRENT_YEAR.search(both) is not None,
            "order_by_text": ("order by" in self.gold_text(gold).lower()) != has_outer_order_by(gold),
        }
        return tuple(name for name, applies in found.items() if applies)


# Each database of a test suite needs the text again.
@lru_cache(maxsize=16_384)
def spider_text(sql: str, keep_distinct: bool) -> str:
    for apart, joined in SPLIT_OPERATORS:
        sql = sql.replace(apart, joined)
    if not keep_distinct:
        sql = without_distinct(sql)
    return CURRENT_YEAR.sub("2020", sql)


def without_distinct(sql: str) -> str:
    """The first statement without the word DISTINCT, as Spider's evaluator cuts it before running."""
    if ";" not in sql and "distinct" not in sql.lower():
        return sql
    parts: list[str] = []
    for kind, text in tokens(sql):
        if kind == "word" and text.lower() == "distinct":
            continue
        parts.append(text)
        if text == ";" and "".join(parts).strip() != ";":
            break
    return "".join(parts)
