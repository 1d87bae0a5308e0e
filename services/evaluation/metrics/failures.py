"""Why a question is lost, in one word, and what a verdict depends on besides SQL and database."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.records import Dependence, Outcome, ResultView, Verdict


class FailureCause(StrEnum):
    """`correct` and `both_empty` are no failures."""

    CORRECT = "correct"
    BOTH_EMPTY = "both_empty"
    GOLD_FAILED = "gold_failed"
    GOLD_TIMEOUT = "gold_timeout"
    UNEXTRACTABLE = "unextractable"
    SYNTAX = "syntax"
    UNKNOWN_COLUMN = "unknown_column"
    UNKNOWN_TABLE = "unknown_table"
    AMBIGUOUS_COLUMN = "ambiguous_column"
    TYPE_OR_FUNCTION = "type_or_function"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESOURCE = "resource"
    DECODE = "decode"
    EMPTY = "empty"
    WRONG_COLUMNS = "wrong_columns"
    COLUMN_ORDER = "column_order"
    WRONG_ORDER = "wrong_order"
    DUPLICATES = "duplicates"
    WRONG_ROWS = "wrong_rows"
    DISPUTED = "disputed"
    OTHER = "other"


BY_VERDICT = {
    Verdict.CORRECT: FailureCause.CORRECT,
    Verdict.BOTH_EMPTY: FailureCause.BOTH_EMPTY,
    Verdict.GOLD_FAILED: FailureCause.GOLD_FAILED,
    Verdict.GOLD_TIMEOUT: FailureCause.GOLD_TIMEOUT,
    Verdict.UNEXTRACTABLE: FailureCause.UNEXTRACTABLE,
    Verdict.DISPUTED: FailureCause.DISPUTED,
}
BY_OUTCOME = {
    Outcome.SYNTAX_ERROR: FailureCause.SYNTAX,
    Outcome.UNKNOWN_COLUMN: FailureCause.UNKNOWN_COLUMN,
    Outcome.UNKNOWN_TABLE: FailureCause.UNKNOWN_TABLE,
    Outcome.AMBIGUOUS_COLUMN: FailureCause.AMBIGUOUS_COLUMN,
    Outcome.TYPE_OR_FUNCTION_ERROR: FailureCause.TYPE_OR_FUNCTION,
    Outcome.NOT_AUTHORIZED: FailureCause.REFUSED,
    Outcome.MULTI_STATEMENT: FailureCause.REFUSED,
    Outcome.TIMEOUT: FailureCause.TIMEOUT,
    Outcome.ROW_LIMIT: FailureCause.RESOURCE,
    Outcome.BYTE_LIMIT: FailureCause.RESOURCE,
    Outcome.MEMORY_LIMIT: FailureCause.RESOURCE,
    Outcome.KILLED: FailureCause.RESOURCE,
    Outcome.DECODE_ERROR: FailureCause.DECODE,
    Outcome.UNEXTRACTABLE: FailureCause.UNEXTRACTABLE,
}


@dataclass(frozen=True)
class ResultFacts:
    """`rows` is None where not all rows were kept; then the counts decide."""

    columns: int
    row_count: int
    rows: Sequence[Sequence[object]] | None = None


def failure_of(
    verdict: Verdict, outcome: Outcome | None, gold: ResultFacts | None = None, pred: ResultFacts | None = None
) -> FailureCause:
    """Failures of the gold come first, then the error of the outcome, then how the results differ."""
    if verdict in BY_VERDICT:
        return BY_VERDICT[verdict]
    if verdict is Verdict.TIMEOUT:
        return FailureCause.TIMEOUT
    if outcome in BY_OUTCOME:
        return BY_OUTCOME[outcome]
    if verdict is not Verdict.WRONG:
        return FailureCause.OTHER
    if gold is None or pred is None:
        return FailureCause.EMPTY if outcome is Outcome.EMPTY else FailureCause.WRONG_ROWS
    return difference(gold, pred)


def difference(gold: ResultFacts, pred: ResultFacts) -> FailureCause:
    if pred.row_count == 0 < gold.row_count:
        return FailureCause.EMPTY
    if pred.columns != gold.columns:
        return FailureCause.WRONG_COLUMNS
    if gold.rows is None or pred.rows is None:
        return FailureCause.WRONG_ROWS
    return row_difference(list(map(tuple, gold.rows)), list(map(tuple, pred.rows)))


def row_difference(gold: list[tuple[object, ...]], pred: list[tuple[object, ...]]) -> FailureCause:
    # From the narrowest difference to the widest.
    if Counter(gold) == Counter(pred):
        return FailureCause.WRONG_ORDER
    if set(gold) == set(pred):
        return FailureCause.DUPLICATES
    if Counter(map(cells, gold)) == Counter(map(cells, pred)):
        return FailureCause.COLUMN_ORDER
    return FailureCause.WRONG_ROWS


def cells(row: tuple[object, ...]) -> frozenset[tuple[object, int]]:
    """The cells of a row regardless of order; 1 and 1.0 are the same."""
    return frozenset(Counter(row).items())


def facts_of(view: ResultView | None) -> ResultFacts | None:
    """Rows count only where all of them were kept."""
    if view is None:
        return None
    return ResultFacts(len(view.columns), view.row_count, None if view.truncated else view.rows)


DEPENDS = {
    Dependence.CLOCK.value: (
        "ask what time it is, so that their results and scores hold for this run: another day may give others"
    ),
    Dependence.OUR_LIMITS.value: (
        "were stopped by a limit of the sandbox where a stock SQLite may go on: they are undecided and count as not "
        "right, which says nothing about the SQL"
    ),
    Dependence.COLLATION.value: (
        "are on a database that sorts by a collation which only its own program has: what needs no order of it runs "
        "here, and some of that stops the official evaluator"
    ),
}
