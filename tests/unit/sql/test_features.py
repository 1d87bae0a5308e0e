import pytest

from shared.sql.features import FEATURES, features_from_words, sql_features
from tests.support.benchmarks import needs_data, read_json, spider_golds

CASES = [
    ("SELECT a FROM t", 0, 0, set()),
    ("SELECT t.a FROM t JOIN u ON t.x = u.x", 1, 0, {"join"}),
    ("SELECT t.a FROM t, u, v", 2, 0, {"join", "many_joins"}),
    ("SELECT count(*) FROM t GROUP BY a HAVING count(*) > 2", 0, 0, {"aggregate", "group", "having"}),
    ("SELECT DISTINCT a FROM t ORDER BY a LIMIT 3", 0, 0, {"distinct", "order", "limit"}),
    ("SELECT a FROM t WHERE a LIKE '%in (select%' AND b BETWEEN 1 AND 2", 0, 0, {"like", "between"}),
    ("SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE EXISTS (SELECT 1))", 0, 2, {"in", "exists", "nested"}),
    ("SELECT a FROM t UNION SELECT b FROM u", 0, 0, {"set_operation"}),
    ("WITH c AS (SELECT 1) SELECT * FROM c", 0, 1, {"cte", "nested"}),
    (
        "SELECT CASE WHEN a IS NULL THEN 1 END, rank() OVER (ORDER BY a) FROM t",
        0,
        0,
        {"case", "null", "window", "order"},
    ),
    ("SELECT strftime('%Y', a) FROM t WHERE overall > -1", 0, 0, {"date"}),
    ("SELECT a * 2, b - c FROM t", 0, 0, {"arithmetic"}),
]


@pytest.mark.parametrize(("sql", "joins", "depth", "used"), CASES)
def test_features_of_the_tree_and_of_the_words_agree(sql: str, joins: int, depth: int, used: set[str]) -> None:
    for found in (sql_features(sql), features_from_words(sql)):
        assert (found.joins, found.depth, set(found.used)) == (joins, depth, used)


def test_every_feature_has_a_case() -> None:
    assert set().union(*(used for *_, used in CASES)) == set(FEATURES)


@pytest.mark.parametrize("sql", ["", "no SQL at all", "SELECT a FROM t WHERE ((", "SELECT 'x", "(" * 3000])
def test_any_text_has_features(sql: str) -> None:
    assert not sql_features(sql).parsed


def test_broken_sql_is_read_by_its_words() -> None:
    found = sql_features("SELECT count(*) FROM t JOIN u ON WHERE a IN (SELECT b FROM")
    assert not found.parsed
    assert found.used == {"aggregate", "join", "in", "nested"}


@needs_data
def test_tree_and_words_agree_on_real_golds() -> None:
    golds = [sql for sql, _ in spider_golds()][::5] + [row["SQL"] for row in read_json("bird/dev.json")][::5]
    for sql in golds:
        tree, words = sql_features(sql), features_from_words(sql)
        assert tree.parsed
        assert (tree.joins, tree.depth, tree.used) == (words.joins, words.depth, words.used), sql
