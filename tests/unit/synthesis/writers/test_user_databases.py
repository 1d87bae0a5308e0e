"""The offline writer for databases of the user's: real names and values, golds that run, nothing twice."""

import sqlite3
from pathlib import Path

import pytest

from services.sandbox.building.databases import make_card
from services.synthesis.steering import plan_slots
from services.synthesis.writers.user_databases import (
    UserDatabase,
    display_name,
    load_user_databases,
    plural_name,
    quote_name,
    spoken_name,
    write_for_user_databases,
)
from shared.catalog.databases import SchemaCard, Upload, add_upload
from shared.contracts.records import WrittenExample
from shared.errors import NotFoundError
from shared.storage.directory import DirectoryStore
from shared.storage.keys import card_key
from tests.support.datasets import make_file

ODD = """
CREATE TABLE "Order" ("orderId" INTEGER PRIMARY KEY, "Group" TEXT, "unit price" REAL, customerRef INTEGER
  REFERENCES BoxCompany(companyId));
CREATE TABLE BoxCompany (companyId INTEGER PRIMARY KEY, legalName TEXT, homeCity TEXT, staff INTEGER);
CREATE TABLE "nothing" (x TEXT);
CREATE TABLE only_ids (a_id INTEGER, b_id INTEGER);
INSERT INTO BoxCompany VALUES (1, 'O''Neil', 'Cork', 20), (2, 'Kaya', 'Izmir', 31),
  (3, 'Sy', 'Cork', 7), (4, 'Vo', 'Hue', 9);
INSERT INTO "Order" VALUES (1, 'A', 9.5, 1), (2, 'B', 3.25, 1), (3, 'A', 12.0, 2),
  (4, 'C', 8.0, NULL), (5, 'A', 7.5, 3);
INSERT INTO only_ids VALUES (1, 2);
"""
LEVELS = {"easy": 1.0, "medium": 1.0, "hard": 1.0}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UserDatabase]:
    file = make_file(tmp_path_factory.mktemp("odd") / "odd.sqlite", ODD)
    return file, UserDatabase("odd names", make_card(file, "a" * 64))


def write(own: UserDatabase, count: int, seed: int = 1, shard: int = 0) -> list[WrittenExample]:
    slots = plan_slots(LEVELS, 1.0, shard, count)
    return write_for_user_databases(seed=seed, split="train", shard=shard, slots=slots, databases=[own])


def test_golds_run_on_odd_names_and_values(odd: tuple[Path, UserDatabase]) -> None:
    file, own = odd
    written = write(own, 60)
    assert len(written) >= 25
    connection = sqlite3.connect(file)
    empty = [one for one in written if not connection.execute(one.sql).fetchall()]
    assert len(empty) <= len(written) / 5
    assert {one.level for one in written} == set(LEVELS)
    assert any("O''Neil" in one.sql or '"Order"' in one.sql for one in written)
    assert all(one.database_id == "a" * 64 and one.database is None for one in written)
    assert len({one.sql for one in written}) == len(written)
    assert not any(name in one.question for one in written for name in ("homeCity", "BoxCompany", "_", '"'))


def test_equal_commands_write_equal_examples_and_others_differ(odd: tuple[Path, UserDatabase]) -> None:
    own = odd[1]
    assert write(own, 12) == write(own, 12)
    assert write(own, 12) != write(own, 12, seed=2)
    assert write(own, 12) != write(own, 12, shard=1)


def test_a_database_with_nothing_in_it_gives_nothing() -> None:
    assert write(UserDatabase("void", SchemaCard(database_id="b" * 64, tables=[])), 5) == []


def test_names_as_they_are_said() -> None:
    assert [spoken_name(name) for name in ("homeCity", "unit_price", "HTTPCode", "a-b")] == [
        "home city",
        "unit price",
        "http code",
        "a b",
    ]
    assert [plural_name(name) for name in ("BoxCompany", "box", "orders", "key")] == [
        "box companies",
        "boxes",
        "orders",
        "keys",
    ]
    assert [quote_name(name) for name in ("town", "order", "unit price", 'a"b')] == [
        "town",
        '"order"',
        '"unit price"',
        '"a""b"',
    ]


def test_an_upload_gives_its_name_and_a_stranger_is_refused(tmp_path: Path, odd: tuple[Path, UserDatabase]) -> None:
    store = DirectoryStore(tmp_path)
    card = odd[1].card
    for name in ("a", "c"):
        store.put(card_key(name * 64), card.model_copy(update={"database_id": name * 64}).model_dump_json().encode())
    add_upload(store, Upload(id="a" * 64, name="my_shop.sqlite", size=1, created_at=1.0, tables=4))
    assert [own.name for own in load_user_databases(store, ["a" * 64, "c" * 64])] == ["my shop", "database cccccccc"]
    assert display_name("", "d" * 64) == "database dddddddd"
    with pytest.raises(NotFoundError):
        load_user_databases(store, ["e" * 64])
