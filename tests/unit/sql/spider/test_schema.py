import pytest

from shared.errors import InvalidInputError
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema
from tests.unit.sql.spider.schemas import AIR, ENTRY


def test_names_are_lower_cased() -> None:
    assert AIR.tables["airport"] == ("code", "city")
    assert {"*", "airport", "flight.source"} <= AIR.known


def test_two_keys_to_one_column_fall_together_officially() -> None:
    assert AIR.united["flight.source"] == AIR.united["flight.dest"] == "airport.code"


def test_apart_only_keys_without_a_rival_are_united() -> None:
    assert AIR.united_apart == {"airport.code": "airport.code", "staff.airport": "airport.code"}
    assert AIR.contested == {"flight.source": "airport.code", "flight.dest": "airport.code"}


def test_official_sets_are_never_joined_later() -> None:
    tables = {"a": ["x"], "b": ["x"], "c": ["x"], "d": ["x"]}
    names = ["*", "a.x", "b.x", "c.x", "d.x"]
    schema = SpiderSchema(tables, names, [(1, 2), (3, 4), (2, 3)])
    assert schema.united == {"a.x": "a.x", "b.x": "a.x", "c.x": "c.x", "d.x": "c.x"} | {"c.x": "c.x"}
    assert set(schema.united_apart.values()) == {"a.x"}


def test_a_listing_of_the_database_counts_and_keys_come_from_the_entry() -> None:
    schema = SpiderSchema.from_listing({"STAFF": ["ID", "Wage"]}, ENTRY)
    assert parse_spider_sql("SELECT wage FROM staff", schema).select
    assert schema.united == AIR.united
    assert SpiderSchema.from_listing({"staff": ["id"]}).united == {}


@pytest.mark.parametrize(
    "broken", [{"db_id": "x"}, ENTRY | {"foreign_keys": [[1, 99]]}, ENTRY | {"column_names_original": [[7, "a"]]}]
)
def test_a_broken_entry_is_named(broken: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=r"entry (x|air) of tables\.json"):
        SpiderSchema.from_tables_json(broken)
