"""The catalogue of intents: levels that measure as asked, features as declared, every construct there."""

from collections import defaultdict
from functools import cache

import pytest

from services.synthesis.writers.grammar.intents import CATALOG, intent
from services.synthesis.writers.grammar.writer import write_examples
from shared.contracts.records import WrittenExample
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES, SqlFeatures, sql_features
from tests.unit.synthesis.golds import as_meant

EVEN = {"easy": 1.0, "medium": 1.0, "hard": 1.0}
SPLITS = ("train", "selection", "test")


@cache
def sample(split: str) -> tuple[WrittenExample, ...]:
    return tuple(
        row for shard in range(6) for row in write_examples(seed=3, split=split, shard=shard, count=150, levels=EVEN)
    )


@cache
def used_by(sql: str) -> SqlFeatures:
    return sql_features(sql)


def intent_of(row: WrittenExample) -> str:
    return row.provenance.source.split("/")[0]


@pytest.mark.parametrize("split", SPLITS)
def test_hardness_measures_as_asked_for(split):
    hits: dict[str, list[bool]] = defaultdict(list)
    for row in sample(split):
        hits[row.level].append(as_meant(row))
    for level, found in hits.items():
        assert sum(found) >= 0.95 * len(found), (level, sum(found), len(found))


def test_only_small_constructs_beyond_spider_stand_in_easy_and_medium():
    missed = {intent_of(row) for split in SPLITS for row in sample(split) if not as_meant(row)}
    assert missed <= {"null", "null_count", "null_and", "where_in", "where_year", "year_and"}


@pytest.mark.parametrize("split", SPLITS)
def test_golds_use_the_features_of_their_intent(split):
    for row in sample(split):
        missing = CATALOG[intent_of(row)].features - used_by(row.sql).used
        assert not missing, (missing, row.sql)


def test_features_that_every_gold_of_an_intent_uses_are_declared():
    used: dict[str, list[frozenset[str]]] = defaultdict(list)
    for split in SPLITS:
        for row in sample(split):
            used[intent_of(row)].append(used_by(row.sql).used)
    for name, found in used.items():
        if len(found) >= 12:
            assert frozenset.intersection(*found) <= CATALOG[name].features, name


def test_every_construct_is_written():
    hard = write_examples(seed=4, split="train", shard=0, count=1500, levels={"hard": 1.0})
    rows = [*sample("train"), *hard]
    assert set(FEATURES) - {feature for row in rows for feature in used_by(row.sql).used} == {"cte"}
    assert max(used_by(row.sql).joins for row in rows) == 3
    text = "\n".join(row.sql for row in rows)
    for words in (
        *("UNION", "INTERSECT", "EXCEPT", " IN (SELECT", "NOT IN (SELECT", "NOT EXISTS (", "AND EXISTS (", "> (SELECT"),
        *(
            "FROM (SELECT",
            "COALESCE(",
            "IS NULL",
            "IS NOT NULL",
            "LEFT JOIN",
            "strftime('%Y'",
            "strftime('%m'",
            "CASE WHEN",
        ),
        *("ROW_NUMBER() OVER", "RANK() OVER", ") OVER (ORDER BY", "PARTITION BY", "COUNT(DISTINCT", " OR ", " LIKE '"),
    ):
        assert words in text, words


def test_rare_constructs_stay_a_moderate_part_of_hard():
    hard = [row for row in sample("train") if row.level == "hard"]
    rare = [row for row in hard if used_by(row.sql).used & {"window", "case", "date"}]
    assert 0.1 * len(hard) < len(rare) < 0.35 * len(hard)


def test_an_intent_can_be_found_by_feature():
    windows = {one.name for one in CATALOG.values() if "window" in one.features}
    assert windows >= {"best_of_each", "ranks", "running_total"}


def test_factors_steer_what_is_written():
    def share(features: dict[str, float] | None) -> float:
        rows = write_examples(seed=1, split="train", shard=0, count=120, levels={"hard": 1.0}, features=features)
        return sum("set_operation" in used_by(row.sql).used for row in rows) / len(rows)

    assert share({"set_operation": 0.0}) == 0
    assert share(None) < share({"set_operation": 8.0})


@pytest.mark.parametrize(
    ("features", "said"),
    [(dict.fromkeys(FEATURES, 0.0), "no hard intent"), ({"join": -1.0}, "0 or more"), ({"joins": 2.0}, "joins")],
)
def test_factors_that_cannot_be_met_are_refused(features, said):
    with pytest.raises(InvalidInputError, match=said):
        write_examples(seed=1, split="train", shard=0, count=1, levels={"hard": 1.0}, features=features)


def test_an_intent_names_known_features_and_comes_once():
    with pytest.raises(InvalidInputError, match="where"):
        intent("easy", name="where")(lambda draw: None)
    with pytest.raises(InvalidInputError, match="magic"):
        intent("easy", "magic", name="magic")(lambda draw: None)
