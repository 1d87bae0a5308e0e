"""The described domains: valid databases, short schemas, disjoint splits."""

import sqlite3

import pytest

from services.synthesis.grammar.rows import fill, script
from services.synthesis.grammar.schema import load_domains
from shared.errors import InvalidInputError
from tests.unit.synthesis.golds import opened

SPLITS = ("train", "selection", "test")
DOMAINS = [pytest.param(domain, id=domain.name) for split in SPLITS for domain in load_domains(split)]


def test_enough_domains_in_each_split():
    counts = {split: len(load_domains(split)) for split in SPLITS}
    assert counts["train"] >= 16
    assert counts["selection"] == 4
    assert counts["test"] >= 12
    assert sum(counts.values()) >= 32


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
    connection = opened(script(domain, fill(domain, seed)))
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    for table in domain.tables:
        count = connection.execute(f"SELECT COUNT(*) FROM {table.name}").fetchone()[0]
        assert 5 <= count <= 30


@pytest.mark.parametrize("domain", DOMAINS)
def test_foreign_keys_are_enforced(domain):
    rows = fill(domain, 1)
    child = next(table for table in domain.tables if any(column.ref for column in table.columns))
    broken = [999, *(999 if column.ref else None for column in child.columns)]
    with pytest.raises(sqlite3.IntegrityError):
        opened(script(domain, rows)).execute(
            f"INSERT INTO {child.name} VALUES ({', '.join('?' * len(broken))})", broken
        )


@pytest.mark.parametrize("domain", DOMAINS)
def test_schema_is_small(domain):
    assert 2 <= len(domain.tables) <= 4
    assert all(2 <= len(table.columns) <= 6 for table in domain.tables)
    assert 200 <= sum(len(domain.ddl(table)) for table in domain.tables) <= 420


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_depend_on_the_seed_alone(domain):
    assert fill(domain, 3) == fill(domain, 3)
    assert fill(domain, 3) != fill(domain, 4)


def test_handwritten_is_not_the_grammars():
    with pytest.raises(InvalidInputError, match="handwritten"):
        load_domains("handwritten")
