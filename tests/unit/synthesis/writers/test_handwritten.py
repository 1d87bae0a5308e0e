"""The handwritten set: golds that run, levels, domains of its own."""

from collections import Counter

import pytest

from services.synthesis.writers.grammar.domain import load_domains
from services.synthesis.writers.handwritten import load_handwritten
from tests.unit.synthesis.golds import opened, rows_of, sort_keys

ROWS = [pytest.param(row, id=row.question[:40]) for row in load_handwritten()]


@pytest.mark.parametrize("row", ROWS)
def test_gold_runs_without_ties(row):
    found = rows_of(row)
    assert found
    assert any(cell not in (None, 0) for cells in found for cell in cells)
    keys = sort_keys(row)
    assert len(keys) == len(set(keys))


def test_enough_questions_at_each_level():
    levels = Counter(row.level for row in load_handwritten())
    assert sum(levels.values()) >= 36
    assert levels["easy"] >= 16
    assert levels["medium"] >= 12
    assert levels["hard"] >= 8


def test_questions_are_unique():
    questions = [row.question for row in load_handwritten()]
    assert len(questions) == len(set(questions))


def test_rows_say_where_they_come_from():
    for row in load_handwritten():
        assert row.split == "handwritten"
        assert row.provenance.writer == "handwritten"
        assert row.provenance.source == f"{row.domain}.yaml"


def test_domains_are_no_grammar_domains():
    grammar = {domain.name: domain for split in ("train", "selection", "test") for domain in load_domains(split)}
    tables = {table.name for domain in grammar.values() for table in domain.tables}
    for row in load_handwritten():
        assert row.domain not in grammar
        assert not any(statement.split()[2] in tables for statement in row.database.ddl)


def test_databases_are_sound_and_small():
    scripts = {row.domain: row.database for row in load_handwritten()}
    assert len(scripts) == 4
    for script in scripts.values():
        assert opened(script).execute("PRAGMA foreign_key_check").fetchall() == []
        assert sum(len(statement) for statement in script.ddl) <= 420
