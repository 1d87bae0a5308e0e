"""A whole result under a rule: what a gold leaves to be compared with, and whether a candidate's result is it."""

from collections.abc import Callable, Sequence
from typing import Any

from services.sandbox.columns import arranged, marks
from services.sandbox.results import Row, canonical, encode, fingerprint, has_floats
from services.sandbox.rules import Rule, Target


class Comparison:
    """One complete result of `width` columns. `check` may raise between steps (the deadline)."""

    def __init__(
        self, raw: Sequence[Row], encoded: Sequence[bytes], width: int, rule: Rule, check: Callable[[], None]
    ) -> None:
        self.raw, self.width, self.rule, self.check = raw, width, rule, check
        self.rows = canonical(raw, exact=rule.exact)
        self.wants_marks = False
        self.fingerprint = fingerprint(encoded if self.rows is raw else encode(self.rows), rule.rows)

    def leave_target(self, *, with_marks: bool) -> dict[str, Any]:
        """The fields of `Target` that candidates will be held against; marks only where columns may move."""
        movable = with_marks and self.rule.any_column_order and self.width > 1 and len(self.raw) > 0
        floats = self.rule.keyed and self.width > 1 and has_floats(self.raw)
        return {"marks": marks(self.rows) if movable else [], "keyed": keyed(self.raw, self.rule) if floats else None}

    def matches(self, target: Target, most: int) -> bool | None:
        """Equal under the rule; None when that could not be settled.

        It cannot with `most` orders of columns; nor (`wants_marks`) where only the order of columns may differ and the
        target has no marks. Few golds need them, so the first try goes without.
        """
        if self.fingerprint != target.fingerprint or self.width != target.width:
            if not self.rule.any_column_order or self.width != target.width or len(self.rows) != target.row_count:
                return False
            if self.width < 2 or not self.rows:
                return False
            if not target.marks:
                self.wants_marks = True
                return None
            found = arranged(self.rows, target, self.rule.rows, most, self.check)
            if found is not True:
                return found
        return not self.rule.keyed or self.keyed_agrees(target)

    def keyed_agrees(self, target: Target) -> bool:
        """The quirk of sorted rows, for a result that is equal otherwise.

        Without floats on either side it cannot fail. A gold without floats has the cells of `rows` here, where every
        whole float is an integer.
        """
        if self.width < 2 or (target.keyed is None and not has_floats(self.raw)):
            return True
        gold = target.keyed if target.keyed is not None else keyed(self.rows, self.rule)
        return keyed(self.raw, self.rule) == gold


def keyed(rows: Sequence[Row], rule: Rule) -> str:
    """A fingerprint of rows whose cells were sorted by text and type; a set of them unless order matters."""
    ordered = [tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell)))) for row in rows]
    return fingerprint(encode(canonical(ordered, exact=True)), "list" if rule.rows == "list" else "set")
