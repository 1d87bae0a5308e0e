"""The described domains: valid databases, short schemas, disjoint splits."""

import sqlite3

import pytest

from services.synthesis.writers.grammar.database import database_script, generate_rows
from services.synthesis.writers.grammar.domain import load_domains, wordings
from shared.errors import InvalidInputError
from tests.unit.synthesis.golds import opened

SPLITS = ("train", "selection", "test")
DOMAINS = [pytest.param(domain, id=domain.name) for split in SPLITS for domain in load_domains(split)]


def test_enough_domains_in_each_split():
    counts = {split: len(load_domains(split)) for split in SPLITS}
    assert counts["train"] >= 40
    assert counts["selection"] == 4
    assert counts["test"] == 12
    assert sum(counts.values()) >= 56


def test_splits_share_no_domain():
    names = [domain.name for split in SPLITS for domain in load_domains(split)]
    assert len(names) == len(set(names))


def test_test_split_shares_hardly_any_table_name_with_training():
    tables = {split: {table.name for domain in load_domains(split) for table in domain.tables} for split in SPLITS}
    assert not tables["test"] & tables["train"]
    assert not tables["test"] & tables["selection"]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("seed", [0, 7, 12345])
def test_domain_builds_with_foreign_keys(domain, seed):
    connection = opened(database_script(domain, generate_rows(domain, seed)))
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    for table in domain.tables:
        count = connection.execute(f"SELECT COUNT(*) FROM {table.name}").fetchone()[0]
        assert 5 <= count <= 30


@pytest.mark.parametrize("domain", DOMAINS)
def test_foreign_keys_are_enforced(domain):
    rows = generate_rows(domain, 1)
    child = next(table for table in domain.tables if any(column.ref for column in table.columns))
    broken = [999, *(999 if column.ref else None for column in child.columns)]
    with pytest.raises(sqlite3.IntegrityError):
        opened(database_script(domain, rows)).execute(
            f"INSERT INTO {child.name} VALUES ({', '.join('?' * len(broken))})", broken
        )


@pytest.mark.parametrize("domain", DOMAINS)
def test_schema_is_small(domain):
    assert 2 <= len(domain.tables) <= 4
    assert all(2 <= len(table.columns) <= 7 for table in domain.tables)
    assert 200 <= sum(len(domain.ddl(table)) for table in domain.tables) <= 620


@pytest.mark.parametrize("domain", DOMAINS)
def test_columns_said_to_miss_values_do_and_no_others(domain):
    rows = generate_rows(domain, 2)
    for table in domain.tables:
        for place, column in enumerate(table.columns, start=1):
            cells = [row[place] for row in rows[table.name]]
            assert (None in cells) == bool(column.missing)
            assert len(set(cells) - {None}) > 1


def test_enough_domains_miss_values_have_dates_and_long_chains():
    domains = load_domains("train")
    columns = {domain.name: [column for table in domain.tables for column in table.columns] for domain in domains}
    assert sum(any(column.missing for column in found) for found in columns.values()) >= 20
    assert sum(any(column.date for column in found) for found in columns.values()) >= 20
    assert sum(len(domain.tables) >= 4 for domain in domains) >= 8


def test_voices_say_the_same_columns_by_other_words():
    for domain in load_domains("train"):
        own, *others = wordings(domain)
        assert own == domain
        assert others, domain.name
        for other in others:
            assert [domain.ddl(table) for table in domain.tables] == [other.ddl(table) for table in other.tables]
            assert [table.columns for table in other.tables] != [table.columns for table in domain.tables]


@pytest.mark.parametrize("domain", DOMAINS)
def test_words_tell_the_columns_of_a_table_apart_in_every_voice(domain):
    for voice in wordings(domain):
        for table in voice.tables:
            labels = [column.label for column in table.columns]
            assert len(labels) == len(set(labels)), (table.name, labels)


def test_other_words_are_not_the_names_of_columns():
    for domain in load_domains("train"):
        names = {column.name for table in domain.tables for column in table.columns}
        for table in domain.tables:
            for column in table.columns:
                assert not column.also or column.also.replace(" ", "_") not in names - {column.name}, column.name


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_depend_on_the_seed_alone(domain):
    assert generate_rows(domain, 3) == generate_rows(domain, 3)
    assert generate_rows(domain, 3) != generate_rows(domain, 4)


def test_handwritten_is_not_the_grammars():
    with pytest.raises(InvalidInputError, match="handwritten"):
        load_domains("handwritten")
