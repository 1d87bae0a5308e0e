"""Literals of SQL texts."""

import pytest

from services.sandbox.test_suites.constants import MAX_CHARS, MAX_CONSTANTS, extract_constants


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT a FROM t WHERE x = 'it''s' AND y = \"Foo\" AND [z] = `w`", ["Foo", "it's"]),
        ("SELECT a FROM t WHERE x > -1.5 AND y - 3 > 2 AND z IN (-4, +5)", [-4, -1.5, 2, 3, 5]),
        ("SELECT 1e3, 2.5E-1, 7.0 FROM t", [0.25, 7.0, 1000.0]),
        ("SELECT a FROM t WHERE n LIKE '%ab_c%' OR n GLOB 'x*y'", ["ab", "c", "x", "y"]),
        ("SELECT a FROM t WHERE n = 'a_b' OR n = '50%'", ["50", "a_b"]),
        ("SELECT a FROM t WHERE n LIKE '%'", []),
        ("SELECT a FROM t WHERE x = 8 LIMIT 5 OFFSET 6", [8]),
        ("SELECT a FROM t LIMIT 5, 6", []),
        ("SELECT strftime('%Y', d) = '2014', x'00ff' -- 9 'no'", ["2014"]),
        ("SELECT t1.c2 FROM t1", []),
        ("SELECT 99999999999999999999999, 9223372036854775807, 1e999", [9223372036854775807, 1e23]),
        ("", []),
    ],
)
def test_literals(sql: str, found: list[object]) -> None:
    assert extract_constants([sql]) == found


def test_each_once_in_one_order() -> None:
    sqls = ["SELECT 'b', 2, 1.0, 1", "SELECT 'a', 'b', 2"]
    found = extract_constants(sqls)
    assert found == extract_constants(reversed(sqls)) == [1.0, 1, 2, "a", "b"]
    assert [type(value) for value in found] == [float, int, int, str, str]


def test_the_most_frequent_are_kept_within_bounds() -> None:
    many = [f"SELECT {n}, 'x{n}'" for n in range(1000)]
    found = extract_constants([*many, "SELECT 999", f"SELECT '{'y' * (MAX_CHARS + 1)}'"])
    assert len(found) == MAX_CONSTANTS
    assert 999 in found
