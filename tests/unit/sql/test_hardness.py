"""Spider's hardness on the schema of a card."""

import pytest

from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.sql.spider.hardness import card_hardness, matches_level

COLUMNS = [ColumnCard(name="id", type="INTEGER", primary_key=True), ColumnCard(name="Name", type="TEXT")]
CARD = SchemaCard(database_id="d", tables=[TableCard(name="Singer", ddl="", columns=COLUMNS, row_count=0)])


@pytest.mark.parametrize(
    ("sql", "level"),
    [
        ("SELECT name FROM singer", "easy"),
        ("SELECT name, count(*) FROM singer GROUP BY name", "medium"),
        ("SELECT name FROM singer WHERE id = (SELECT max(id) FROM singer)", "hard"),
        (
            "SELECT name, id FROM singer WHERE id > 1 AND name = 'a' GROUP BY name ORDER BY count(*) DESC LIMIT 1",
            "extra",
        ),
        ("SELECT row_number() OVER (ORDER BY id) FROM singer", "beyond_spider"),
        ("nothing of the kind", "beyond_spider"),
    ],
)
def test_levels(sql: str, level: str) -> None:
    assert card_hardness(sql, CARD) == level


def test_all_above_hard_is_hard_to_us() -> None:
    assert matches_level("hard", "extra") and matches_level("hard", "beyond_spider") and matches_level("easy", "easy")
    assert not matches_level("easy", "medium") and not matches_level("medium", "unmeasured")
