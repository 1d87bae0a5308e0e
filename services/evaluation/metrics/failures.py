"""Why a question was lost: one word each, from what the sandbox and the comparison said."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.records import Outcome, Verdict


class Failure(StrEnum):
    """One cause a question. `correct` and `both_empty` are none."""

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
    Verdict.CORRECT: Failure.CORRECT,
    Verdict.BOTH_EMPTY: Failure.BOTH_EMPTY,
    Verdict.GOLD_FAILED: Failure.GOLD_FAILED,
    Verdict.GOLD_TIMEOUT: Failure.GOLD_TIMEOUT,
    Verdict.UNEXTRACTABLE: Failure.UNEXTRACTABLE,
    Verdict.DISPUTED: Failure.DISPUTED,
}
BY_OUTCOME = {
    Outcome.SYNTAX_ERROR: Failure.SYNTAX,
    Outcome.UNKNOWN_COLUMN: Failure.UNKNOWN_COLUMN,
    Outcome.UNKNOWN_TABLE: Failure.UNKNOWN_TABLE,
    Outcome.AMBIGUOUS_COLUMN: Failure.AMBIGUOUS_COLUMN,
    Outcome.TYPE_OR_FUNCTION_ERROR: Failure.TYPE_OR_FUNCTION,
    Outcome.NOT_AUTHORIZED: Failure.REFUSED,
    Outcome.MULTI_STATEMENT: Failure.REFUSED,
    Outcome.TIMEOUT: Failure.TIMEOUT,
    Outcome.ROW_LIMIT: Failure.RESOURCE,
    Outcome.BYTE_LIMIT: Failure.RESOURCE,
    Outcome.MEMORY_LIMIT: Failure.RESOURCE,
    Outcome.KILLED: Failure.RESOURCE,
    Outcome.DECODE_ERROR: Failure.DECODE,
    Outcome.UNEXTRACTABLE: Failure.UNEXTRACTABLE,
}


@dataclass(frozen=True)
class ResultFacts:
    """What is known of a result: `rows` are all of them, or None where they were not kept; then the counts decide."""

    columns: int
    row_count: int
    rows: Sequence[Sequence[object]] | None = None


def failure_of(
    verdict: Verdict, outcome: Outcome | None, gold: ResultFacts | None = None, pred: ResultFacts | None = None
) -> Failure:
    """The cause. The gold's own failures come first, then the outcome's error, then how the results differ."""
    if verdict in BY_VERDICT:
        return BY_VERDICT[verdict]
    if verdict is Verdict.TIMEOUT:
        return Failure.TIMEOUT
    if outcome in BY_OUTCOME:
        return BY_OUTCOME[outcome]
    if verdict is not Verdict.WRONG:
        return Failure.OTHER
    if gold is None or pred is None:
        return Failure.EMPTY if outcome is Outcome.EMPTY else Failure.WRONG_ROWS
    return difference(gold, pred)


def difference(gold: ResultFacts, pred: ResultFacts) -> Failure:
    """How a wrong result differs from the gold's, the plainest difference first."""
    if pred.row_count == 0 < gold.row_count:
        return Failure.EMPTY
    if pred.columns != gold.columns:
        return Failure.WRONG_COLUMNS
    if gold.rows is None or pred.rows is None:
        return Failure.WRONG_ROWS
    return row_difference(list(map(tuple, gold.rows)), list(map(tuple, pred.rows)))


def row_difference(gold: list[tuple[object, ...]], pred: list[tuple[object, ...]]) -> Failure:
    """What differs between rows of equally many columns."""
    if Counter(gold) == Counter(pred):
        return Failure.WRONG_ORDER
    if set(gold) == set(pred):
        return Failure.DUPLICATES
    if Counter(map(cells, gold)) == Counter(map(cells, pred)):
        return Failure.COLUMN_ORDER
    return Failure.WRONG_ROWS


def cells(row: tuple[object, ...]) -> frozenset[tuple[object, int]]:
    """A row's cells without their order; 1 and 1.0 are one."""
    return frozenset(Counter(row).items())
