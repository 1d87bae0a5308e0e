"""Planted leaks are found, and what only looks alike is not; on Spider with the shares of the decision page."""

import pytest

from services.synthesis.collecting.collect import Gate
from services.synthesis.gates.features import NO_SCHEMA, SchemaFacts, extract_features, schema_facts
from shared.catalog.databases import ColumnCard, ForeignKeyCard, SchemaCard, TableCard
from shared.contracts.records import Example
from tests.support import planted
from tests.support.benchmarks import needs_data


def card(*tables: tuple[str, list[str]], key: bool = True) -> SchemaFacts:
    """Facts of tables with text columns; the second refers to the first."""
    made = []
    for name, columns in tables:
        keys = [ForeignKeyCard(column=columns[1], to_table=tables[0][0], to_column=tables[0][1][0])]
        own = [ColumnCard(name=one, type="TEXT", primary_key=place == 0) for place, one in enumerate(columns)]
        made.append(TableCard(name=name, ddl="", columns=own, foreign_keys=keys if made and key else [], row_count=1))
    return schema_facts(SchemaCard(database_id="x", tables=made))


KNOWN = {
    "test": card(("singer", ["singer_id", "stage_name", "country"]), ("song", ["song_id", "singer_id", "sales"])),
    "copy": card(("vocalist", ["singer_id", "stage_name", "country"]), ("track", ["song_id", "singer_id", "sales"])),
    "other": card(("chef", ["chef_id", "nick", "town"]), ("dish", ["dish_id", "chef_id", "price"])),
    "far": card(("plant", ["plant_id", "height"]), key=False),
}
TESTS = [
    planted.make("test", "Which singers come from France?", "SELECT stage_name FROM singer WHERE country = 'France'"),
    planted.make(
        "test",
        "What is the stage name of the singer with the most songs?",
        "SELECT T1.stage_name FROM singer AS T1 JOIN song AS T2 ON T1.singer_id = T2.singer_id GROUP BY T1.singer_id "
        "ORDER BY count(*) DESC LIMIT 1",
    ),
]


def sign(db: str, question: str, gold: str, *, own: bool = False) -> str | None:
    """The sign by which an example is taken for a leak."""
    gate = Gate(TESTS, lambda name: KNOWN.get(name, NO_SCHEMA))
    example = planted.make(db, question, gold, own=own)
    leak = gate.tests.find_leak(example, gate.features(example), invented=own)
    return leak.sign if leak else None


MOST = TESTS[1].gold


@pytest.mark.parametrize(
    ("db", "question", "gold", "own", "expected"),
    [
        ("far", "which singers come from  FRANCE", "SELECT 1", False, "question"),
        ("test", "Where is it from?", "select stage_name from singer where country = 'france';", False, "gold"),
        ("test", "Anything else?", "SELECT count(*) FROM singer", True, "database"),
        ("copy", "Anything else?", "SELECT count(*) FROM vocalist", True, "schema"),
        (
            "far",
            "Vocalists that come from Spain?",
            "SELECT stage_name FROM singer WHERE country = 'Spain'",
            False,
            "same SQL",
        ),
        (
            "copy",
            "Which singers are from France?",
            "SELECT stage_name FROM vocalist WHERE country = 'France'",
            False,
            "near question and SQL on its schema",
        ),
        (
            "other",
            "What is the nick of the chef with the most dishes?",
            "SELECT a.nick FROM chef a JOIN dish b ON a.chef_id = b.chef_id GROUP BY a.chef_id "
            "ORDER BY count(*) DESC LIMIT 1",
            False,
            "masked question on a schema of its form",
        ),
        (
            "test",
            "France: which singers come from?",
            "SELECT stage_name FROM singer WHERE country = 'X'",
            False,
            "same words",
        ),
        # Right ones.
        (
            "test",
            "How many singers are there in each country?",
            "SELECT country, count(*) FROM singer GROUP BY country",
            False,
            None,
        ),
        (
            "test",
            "Which singers come from Spain?",
            "SELECT stage_name FROM singer WHERE country = 'Spain'",
            False,
            None,
        ),
        ("far", "Which plants come from France?", "SELECT name FROM plant WHERE origin = 'France'", False, None),
        (
            "far",
            "What is the height of the plant with the most leaves?",
            "SELECT height FROM plant ORDER BY leaves LIMIT 1",
            True,
            None,
        ),
        (
            "other",
            "How many dishes does each chef cook?",
            "SELECT chef_id, count(*) FROM dish GROUP BY chef_id",
            True,
            None,
        ),
    ],
)
def test_signs(db: str, question: str, gold: str, own: bool, expected: str | None) -> None:
    assert sign(db, question, gold, own=own) == expected


def test_a_given_database_may_be_shared_with_the_tests() -> None:
    example = planted.make("test", "How many songs are there?", "SELECT count(*) FROM song", own=True)
    assert Gate(TESTS, KNOWN.__getitem__).reason(example) == ("leaked", "database: test")
    assert Gate(TESTS, KNOWN.__getitem__, given=["test"]).reason(example) is None


def test_masks_hide_names_numbers_and_literals() -> None:
    example = planted.make("test", "Which singers of France sold 20 songs?", TESTS[0].gold)
    assert extract_features(example, KNOWN["test"]).masked == ("which", "_", "of", "_", "sold", "_")


def found(test: list[Example], rows: list[Example], known: dict[str, SchemaFacts]) -> float:
    gate = Gate(test, known.__getitem__)
    leaks = [gate.tests.find_leak(row, gate.features(row), invented=False) for row in rows]
    return sum(leak is not None for leak in leaks) / len(rows)


@needs_data
def test_spiders_paraphrases_are_found_and_its_training_set_is_not() -> None:
    known = planted.schemas()
    dev = planted.examples("spider/dev.json", split="test")
    syn = planted.examples("spider_syn/dev.json", question="SpiderSynQuestion", copy="/copy")
    realistic = planted.examples("spider_realistic/spider-realistic.min.json", copy="/copy")
    assert found(dev, syn, known) >= 0.97
    assert found(dev, realistic, known) >= 0.97
    assert found(dev, planted.with_tables_renamed(planted.examples("spider/dev.json")), known) == 1
    assert found(dev, planted.with_all_renamed(planted.examples("spider/dev.json"))[::2], known) >= 0.95
    assert (
        found(
            dev,
            planted.by_template([one.model_copy(update={"database_id": f"{one.database_id}/copy"}) for one in dev]),
            known,
        )
        == 1
    )
    assert found(dev, planted.examples("spider/train_spider.min.json")[::2], known) <= 0.01
