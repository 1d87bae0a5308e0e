import pytest

from shared.sql.spider.hardness import hardness, measured_hardness
from shared.sql.spider.parser import parse_spider_sql
from tests.unit.sql.spider.schemas import AIR


@pytest.mark.parametrize(
    ("sql", "level"),
    [
        ("SELECT name FROM staff", "easy"),
        ("SELECT name FROM staff WHERE age > 3", "easy"),
        ("SELECT name, age FROM staff WHERE age > 3", "medium"),
        ("SELECT name FROM staff WHERE age > 3 AND id = 2", "medium"),
        ("SELECT name FROM staff ORDER BY age LIMIT 1", "medium"),
        # HAVING is no clause here, whatever the README says.
        ("SELECT name FROM staff GROUP BY name HAVING count(*) > 1", "easy"),
        ("SELECT name FROM staff GROUP BY name HAVING count(*) > 1 ORDER BY age", "medium"),
        # NOT and the connectors of HAVING pass for aggregates.
        ("SELECT count(*) FROM staff GROUP BY name HAVING max(age) > 1 AND min(age) > 0", "medium"),
        ("SELECT name FROM staff WHERE id IN (SELECT id FROM flight)", "hard"),
        ("SELECT name FROM staff WHERE id NOT IN (SELECT id FROM flight)", "hard"),
        ("SELECT count(*) FROM staff WHERE id NOT IN (SELECT id FROM flight)", "extra"),
        ("SELECT name FROM staff WHERE age > 3 GROUP BY name ORDER BY age", "hard"),
        ("SELECT name FROM staff WHERE age > 3 GROUP BY name ORDER BY age LIMIT 1", "extra"),
        ("SELECT name FROM staff EXCEPT SELECT city FROM airport", "hard"),
        ("SELECT name FROM staff WHERE name LIKE 'a' OR name LIKE 'b' OR age = 2", "extra"),
    ],
)
def test_levels(sql: str, level: str) -> None:
    assert hardness(parse_spider_sql(sql, AIR)) == level == measured_hardness(sql, AIR)


def test_what_the_grammar_cannot_read_lies_beyond() -> None:
    assert measured_hardness("SELECT name FROM staff WHERE age IS NULL", AIR) == "beyond_spider"
