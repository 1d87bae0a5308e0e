"""Results held against each other: canonical cells, fingerprints, columns in any order, and SQL read as text."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.execution.sql_text import has_outer_order_by, one_line
from services.sandbox.judging.comparison import (
    Comparison,
    ComparisonRule,
    ComparisonTarget,
    Row,
    canonical,
    column_arrangements,
    column_marks,
    encode,
)
from shared.sql.tokens import tokens

BAG, LIST, SET = (
    ComparisonRule("bag"),
    ComparisonRule("list"),
    ComparisonRule("set", exact=True, any_column_order=False),
)
SPIDER = ComparisonRule("bag", exact=True, keyed=True)


@pytest.mark.parametrize(
    ("sql", "matters"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x ORDER BY 1 LIMIT 1;", True),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT a FROM t WHERE b = (SELECT max(b) FROM t ORDER BY 1)", False),
        ("SELECT 'order by a' FROM t -- order by", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
    ],
)
def test_order_matters_only_outermost(sql: str, matters: bool) -> None:
    assert has_outer_order_by(sql) is matters


def test_order_of_a_text_that_no_parser_reads() -> None:
    assert has_outer_order_by("SELECT a FROM t INDEXED BY i WHERE a GLOB )( ORDER BY a")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (-0.0, 0, True),
        (12345678901.000002, 12345678901, True),
        (1234567891, 1234567892, False),
        (1.00001, 1.00002, False),
        (None, "", False),
        ("1", 1, False),
        (b"1", "1", False),
        (float("inf"), float("-inf"), False),
    ],
)
def test_tolerant_cells(left: object, right: object, same: bool) -> None:
    one, other = ([(cell,)] for cell in (left, right))
    assert (canonical(one, exact=False) == canonical(other, exact=False)) is same  # type: ignore[arg-type]
    assert (compare(one, other, BAG)) is same  # type: ignore[arg-type]


def compare(gold: Sequence[Row], mine: Sequence[Row], rule: ComparisonRule) -> bool | None:
    first, second = (
        Comparison(rows, encode(rows), len(rows[0]) if rows else 1, rule, lambda: None) for rows in (gold, mine)
    )
    left = first.leave_target(with_marks=True)
    return second.matches(
        ComparisonTarget(first.fingerprint, len(gold), first.width, left["marks"], left["keyed"]), 5000
    )


def spider_says(gold: Sequence[Row], mine: Sequence[Row], ordered: bool) -> bool:
    """The official rule as it is worded in the notes, without any cleverness."""
    from itertools import permutations

    if len(gold) != len(mine) or len(gold[0]) != len(mine[0]):
        return False
    sort = [[tuple(sorted(row, key=lambda x: str(x) + str(type(x)))) for row in rows] for rows in (gold, mine)]
    if (sort[0] != sort[1]) if ordered else (set(sort[0]) != set(sort[1])):
        return False
    for order in permutations(range(len(gold[0]))):
        turned = [tuple(row[place] for place in order) for row in mine]
        if (list(gold) == turned) if ordered else (Counter(gold) == Counter(turned)):
            return True
    return False


CELLS = st.one_of(
    st.none(),
    st.integers(-2, 2),
    st.sampled_from([0.5, 1.0, 2.0, -0.0]),
    st.sampled_from(["", "a", "1"]),
    st.just(b"a"),
)
TABLES = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=4))
CHANCE = st.randoms(use_true_random=False)


def shuffled(rows: Sequence[Row], chance: object, whole: bool) -> list[Row]:
    """Rows and columns in another order; sometimes with whole numbers in their other type."""
    order = chance.sample(range(len(rows[0])), len(rows[0]))  # type: ignore[attr-defined]
    turned = [tuple(row[place] for place in order) for row in chance.sample(rows, len(rows))]  # type: ignore[attr-defined]
    if not whole:
        return turned
    return [tuple(float(c) if type(c) is int and chance.random() < 0.5 else c for c in row) for row in turned]  # type: ignore[attr-defined]


@given(TABLES, CHANCE)
def test_a_bag_forgets_the_order_of_rows_and_columns_only(rows: list[Row], chance: object) -> None:
    mine = shuffled(rows, chance, True)
    assert compare(rows, mine, BAG)
    assert not compare(rows, mine[1:], BAG)
    assert not compare(rows, [*mine, mine[0]], BAG)
    assert not compare(rows, [(*row, 1) for row in mine], BAG)


@given(TABLES, TABLES, CHANCE, st.booleans(), st.booleans())
def test_spiders_rule(rows: list[Row], others: list[Row], chance: object, same: bool, ordered: bool) -> None:
    mine = shuffled(rows, chance, True) if same else others
    rule = ComparisonRule("list" if ordered else "bag", exact=True, keyed=True)
    assert compare(rows, mine, rule) is spider_says(rows, mine, ordered)


@given(TABLES, TABLES, CHANCE, st.booleans())
def test_birds_rule(rows: list[Row], others: list[Row], chance: object, same: bool) -> None:
    mine = [*chance.sample(rows, len(rows)), rows[0]] if same else others  # type: ignore[attr-defined]
    assert compare(rows, mine, SET) is (set(rows) == set(mine))


@pytest.mark.parametrize(
    ("gold", "mine", "spider"),
    [
        ([(1, 1.5)], [(1.0, 1.5)], False),
        ([(1,)], [(1.0,)], True),
        ([(1, "a")], [("a", 1.0)], True),
        ([(0.1 + 0.2,)], [(0.3,)], False),
        ([(10,)], [("10",)], False),
        ([(None,)], [("",)], False),
    ],
)
def test_spiders_quirks(gold: list[Row], mine: list[Row], spider: bool) -> None:
    assert compare(gold, mine, SPIDER) is spider
    assert spider_says(gold, mine, False) is spider


def test_lists_keep_their_order() -> None:
    rows: list[Row] = [(1, "a"), (2, "b")]
    assert compare(rows, [("a", 1), ("b", 2)], LIST)
    assert not compare(rows, [("b", 2), ("a", 1)], LIST)


def test_equal_columns_are_not_permuted() -> None:
    found = column_marks([(1,) * 12, (2,) * 12])
    assert list(column_arrangements(found, found)) == [list(range(12))]


@given(st.text(alphabet="'\"`[]-/*; \nabORDERBY()", max_size=60))
def test_tokens_lose_nothing(text: str) -> None:
    assert "".join(part for _, part in tokens(text)) == text
    assert "\n" not in one_line(text) or any(quote in text for quote in "'\"`[")
