import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sql.spider.parser import OddQuotesError, by_ordered_rules, one_pass, tokenize_spider

PIECES = [*"a.,:;()>=!-`*1 \n", "T1.b", "..", '"x y"', "--", "2.5", "cannot", "é", "”"]


@pytest.mark.parametrize(
    ("sql", "tokens"),
    [
        ("SELECT Name FROM t", ["select", "name", "from", "t"]),
        ("a >= 1 AND b ! = 2", ["a", ">=", "1", "and", "b", "!=", "2"]),
        ("x = 'New York'", ["x", "=", '"New York"']),
        ('x = "It; FROM"', ["x", "=", '"It; FROM"']),
        ("count(*)", ["count", "(", "*", ")"]),
        ("in (1,2)", ["in", "(", "1,2", ")"]),
        ("in (1 , 2)", ["in", "(", "1", ",", "2", ")"]),
        ("a=1", ["a=1"]),
        ("a>=1", ["a", ">", "=1"]),
        ("a <> 1", ["a", "<", ">", "1"]),
        ("T1.Name, T2.x", ["t1.name", ",", "t2.x"]),
        ("a,b", ["a", ",", "b"]),
        ("a,,b", ["a", ",", ",b"]),
        ("```a`", ["``", "`", "a", "`"]),
        ("a -- b --- c", ["a", "--", "b", "--", "-", "c"]),
        ("x.", ["x", "."]),
        ("x. ) ", ["x", ".", ")"]),
        ("1.5 ... a..b", ["1.5", "...", "a", "..", "b"]),
        ("cannot", ["can", "not"]),
        ("", []),
    ],
)
def test_tokens_are_those_of_the_official_tokeniser(sql: str, tokens: list[str]) -> None:
    assert tokenize_spider(sql) == tokens


def test_a_literal_glued_to_a_word_is_lost() -> None:
    tokens = tokenize_spider("name like'A%'")
    assert tokens[0] == "name"
    assert tokens[1].startswith("like__val_")


def test_odd_quotes_are_refused() -> None:
    with pytest.raises(OddQuotesError):
        tokenize_spider("name = 'O''Brien' or name = 'x")


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_one_pass_gives_what_the_ordered_rules_give(text: str) -> None:
    found = one_pass(text)
    assert found is None or found == by_ordered_rules(text)


def test_plain_sql_needs_one_pass_only() -> None:
    assert one_pass('SELECT a, T1.b FROM t AS T1 WHERE x != "Y z" AND y >= 3.5;') is not None
