"""The writer: golds that run, shares, determinism, few repetitions."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from sqlglot import exp, parse_one

from services.synthesis.writers.grammar import writer
from services.synthesis.writers.grammar.writer import INTENTS, LITERAL, load_templates, write_examples
from shared.contracts.records import WrittenExample
from shared.errors import InvalidInputError
from tests.unit.synthesis.golds import rows_of, sort_keys

LEVELS = {"easy": 0.3, "medium": 0.4, "hard": 0.3}
SPLITS = ("train", "selection", "test")
ROOT = Path(__file__).parents[5]
DIGEST = """
import hashlib
from services.synthesis.writers.grammar.writer import write_examples
rows = write_examples(seed=11, split="train", shard=2, count=120, levels={"easy": 0.3, "medium": 0.4, "hard": 0.3})
print(hashlib.sha256("\\n".join(row.model_dump_json() for row in rows).encode()).hexdigest())
"""


def written(split: str, seed: int = 1, shard: int = 0, count: int = 200) -> list[WrittenExample]:
    return write_examples(seed=seed, split=split, shard=shard, count=count, levels=LEVELS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [1, 2, 77])
def test_golds_run_and_say_something(split, seed):
    for row in written(split, seed):
        found = rows_of(row)
        assert found, row.sql
        assert any(cell is not None for cells in found for cell in cells), row.sql


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [1, 2, 77])
def test_orders_have_no_ties(split, seed):
    keys = [(row.sql, sort_keys(row)) for row in written(split, seed)]
    assert any(found for _, found in keys)
    for sql, found in keys:
        assert len(found) == len(set(found)), sql


@pytest.mark.parametrize("split", SPLITS)
def test_rows_carry_their_provenance(split):
    for row in written(split, count=60):
        assert row.split == split
        assert row.provenance.writer == "grammar"
        assert row.provenance.writer_version == "grammar/2"
        assert row.provenance.seed == 1
        intent, mark = row.provenance.source.split("/")
        assert intent in INTENTS[row.level]
        assert mark[0] == ("t" if split == "test" else "p")


@pytest.mark.parametrize("split", SPLITS)
def test_questions_are_clean_sentences(split):
    for row in written(split, seed=4):
        words = row.question.lower().split()
        assert row.question[0].isupper() or row.question[0].isdigit()
        assert row.question[-1] in ".?"
        assert "_" not in row.question
        assert "{" not in row.question
        assert "  " not in row.question
        assert all(first != second for first, second in pairwise(words)), row.question


FORMATS = {"%Y", "%m", "%Y-%m"}


@pytest.mark.parametrize("split", SPLITS)
def test_values_of_the_gold_stand_in_the_question(split):
    for row in written(split, seed=5, count=400):
        tree = parse_one(row.sql, read="sqlite")
        literals = {node.this.strip("%") if node.this not in FORMATS else "" for node in tree.find_all(exp.Literal)}
        # 1 and 0 are the language's: LIMIT 1, place 1, SELECT 1, THEN 1 ELSE 0; 100.0 makes a percentage.
        missing = {value for value in literals - {"0", "1", "100.0"} if value not in row.question}
        assert not missing, (missing, row.question, row.sql)


def test_golds_keep_one_style():
    for split in SPLITS:
        for row in written(split, seed=6):
            assert row.sql.startswith("SELECT ")
            assert not row.sql.endswith(";")
            assert "\n" not in row.sql
            assert " as " not in row.sql


@pytest.mark.parametrize(
    ("levels", "count", "expected"),
    [
        (LEVELS, 50, {"easy": 15, "medium": 20, "hard": 15}),
        ({"easy": 1, "medium": 1, "hard": 1}, 10, {"easy": 4, "medium": 3, "hard": 3}),
        ({"hard": 2.0}, 7, {"hard": 7}),
        ({"easy": 0.5, "medium": 0.5, "hard": 0.0}, 3, {"easy": 2, "medium": 1}),
    ],
)
def test_level_shares_are_met(levels, count, expected):
    rows = write_examples(seed=1, split="train", shard=0, count=count, levels=levels)
    assert Counter(row.level for row in rows) == expected


def test_all_intents_and_all_forms_of_phrases_occur():
    levels = {"easy": 1.0, "medium": 1.0, "hard": 2.0}
    rows = write_examples(seed=3, split="train", shard=0, count=3000, levels=levels)
    marks = [row.provenance.source.split("/") for row in rows]
    assert {intent for intent, _ in marks} == {intent for intents in INTENTS.values() for intent in intents}
    assert {mark.partition("@")[2] or intent for intent, mark in marks} == set(load_templates())


def test_enough_intents():
    assert len(INTENTS["easy"]) >= 16
    assert len(INTENTS["medium"]) >= 30
    assert len(INTENTS["hard"]) >= 60


def test_same_arguments_same_bytes_under_another_hash_seed():
    rows = write_examples(seed=11, split="train", shard=2, count=120, levels=LEVELS)
    here = hashlib.sha256("\n".join(row.model_dump_json() for row in rows).encode()).hexdigest()
    for hash_seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", DIGEST]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == here


def test_seeds_and_shards_differ():
    base = [row.question for row in written("train", count=50)]
    assert [row.question for row in written("train", seed=2, count=50)] != base
    assert [row.question for row in written("train", shard=1, count=50)] != base


def test_a_domain_has_one_database_in_all_shards():
    databases: dict[str, set[str]] = {}
    for shard in range(4):
        for row in written("selection", shard=shard, count=20):
            databases.setdefault(row.domain, set()).add(row.database.model_dump_json())
    assert all(len(found) == 1 for found in databases.values())


def shape(row: WrittenExample) -> tuple[str, str]:
    return row.domain, LITERAL.sub("?", row.sql)


@pytest.mark.parametrize("count", [20, 50])
def test_shapes_hardly_repeat_across_shards(count):
    rows = [row for shard in range(1000 // count) for row in written("train", shard=shard, count=count)]
    assert len({shape(row) for row in rows}) > 0.99 * len(rows)
    assert len({(row.domain, row.question) for row in rows}) > 0.99 * len(rows)


@pytest.mark.parametrize("split", ["selection", "test"])
def test_small_splits_repeat_no_gold_across_shards(split):
    rows = [row for shard in range(8) for row in written(split, shard=shard, count=50)]
    assert len({(row.domain, row.sql) for row in rows}) > 0.99 * len(rows)


def test_shards_are_the_same_in_any_order():
    forward = [written("test", seed=21, shard=shard, count=30) for shard in range(4)]
    writer._stream.cache_clear()
    backward = [written("test", seed=21, shard=shard, count=30) for shard in reversed(range(4))]
    assert forward == backward[::-1]


def test_a_shard_that_comes_late_is_drawn_again(monkeypatch):
    early = written("selection", seed=22, count=40)
    monkeypatch.setattr(writer, "KEPT_EXAMPLES", 1)
    writer._stream.cache_clear()
    written("selection", seed=22, shard=3, count=40)
    assert written("selection", seed=22, count=40) == early
    writer._stream.cache_clear()


def test_threads_write_the_same():
    expected = [written("train", seed=23, shard=shard, count=20) for shard in range(6)]
    writer._stream.cache_clear()
    writer._database.cache_clear()
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda shard: written("train", seed=23, shard=shard, count=20), range(6)))
    assert found == expected


def test_domains_take_turns():
    for shard in range(3):
        counts = Counter(row.domain for row in written("test", shard=shard, count=60))
        assert set(counts.values()) <= {4, 5, 6}
        assert len(counts) == 12


@pytest.mark.parametrize("split", SPLITS)
def test_one_question_never_has_two_golds(split):
    golds: dict[tuple[str, str], set[str]] = {}
    for shard in range(4):
        for row in written(split, shard=shard):
            golds.setdefault((row.domain, row.question), set()).add(row.sql)
    assert [golds[question] for question in golds if len(golds[question]) > 1] == []


@pytest.mark.parametrize(("count", "levels"), [(-1, LEVELS), (5, {"easy": 0.0}), (5, {"easy": -1.0, "hard": 2.0})])
def test_impossible_requests_are_refused(count, levels):
    with pytest.raises(InvalidInputError):
        write_examples(seed=1, split="train", shard=0, count=count, levels=levels)


def test_no_examples_asked_none_written():
    assert write_examples(seed=1, split="train", shard=0, count=0, levels=LEVELS) == []
