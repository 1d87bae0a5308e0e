"""How two results are held against each other: what a policy asks of the child. Light: the child imports it."""

from dataclasses import dataclass

Mark = tuple[str, str]


@dataclass(frozen=True)
class Rule:
    """What makes two results equal.

    `rows` is `list`, `bag` or `set`. `exact` cells are equal as Python's are, others to nine significant digits.
    `any_column_order`: columns may be permuted. `keyed`: the rows must also agree after each was sorted by the text and
    type of its cells (a quirk of Spider's evaluator: there 1 and 1.0 can differ in a row and agree alone).
    `text_errors` says what becomes of text that is not UTF-8: `replace` and `ignore` as Python's, `strict` fails.
    """

    rows: str = "bag"
    exact: bool = False
    any_column_order: bool = True
    keyed: bool = False
    text_errors: str = "replace"


@dataclass(frozen=True)
class Target:
    """A gold's result: its fingerprint, row count, and a mark for each column (`marks` only where columns may move).

    `keyed` is the fingerprint of the sorted rows, None where no cell of the gold is a float.
    """

    fingerprint: str
    row_count: int
    width: int
    marks: tuple[Mark, ...] = ()
    keyed: str | None = None
