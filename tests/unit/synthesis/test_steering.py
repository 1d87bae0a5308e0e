"""Wishes are followed by both writers, by seed alone, and nothing changes where nothing is wished for."""

from collections import Counter
from typing import Any
from unittest.mock import Mock

import pytest

from services.synthesis.steering import WritingGoals, count_followed, read_goals
from services.synthesis.writers.grammar.writer import pick_examples, write_examples, write_to_goals
from services.synthesis.writers.llm import make_calls
from services.synthesis.writers.llm_prompts import FEATURE_WORDS, PromptContext
from shared.contracts.records import WrittenExample
from shared.contracts.synthesis import WriteExamples
from shared.sql.features import FEATURES, sql_features

LEVELS: dict[Any, float] = {"easy": 0.5, "medium": 0.35, "hard": 0.15}
FEATURES_ASKED = {"having": 0.5, "nested": 0.3, "set_operation": 0.2}


def command(**fields: Any) -> WriteExamples:
    ids = {"job_id": "j", "stage": "write.errors", "shard": 0, "attempt": 1, "correlation_id": "c"}
    given = {"writer": "grammar", "split": "train", "count": 40, "levels": LEVELS, "seed": 5}
    return WriteExamples.model_validate({**ids, **given, **fields})


def write(given: WriteExamples, wish: WritingGoals) -> tuple[list[WrittenExample], int]:
    return write_to_goals(given, wish, wish.draw_features(given))


def used(written: list[WrittenExample]) -> Counter[str]:
    return Counter(name for one in written for name in sql_features(one.sql).used)


def test_the_grammar_writes_what_is_wished_for() -> None:
    plain, none = write(command(), WritingGoals(LEVELS, {}))
    steered, followed = write(command(), WritingGoals(LEVELS, FEATURES_ASKED))
    assert len(plain) == len(steered) == 40 and none == 0
    assert followed >= 30, "the grammar can write most of it"
    for name in FEATURES_ASKED:
        assert used(steered)[name] > used(plain)[name], name
    assert len({(one.domain, one.sql) for one in steered}) == 40, "no example stands twice"


def test_without_wishes_the_writer_writes_as_before() -> None:
    plain, _ = write(command(), WritingGoals(LEVELS, {}))
    assert plain == write_examples(seed=5, split="train", shard=0, count=40, levels=LEVELS)


def test_equal_wishes_give_equal_examples_and_shards_differ() -> None:
    wish = WritingGoals(LEVELS, FEATURES_ASKED)
    assert write(command(), wish) == write(command(), wish)
    assert wish.draw_features(command()) == WritingGoals(LEVELS, dict(reversed(FEATURES_ASKED.items()))).draw_features(
        command()
    )
    assert wish.draw_features(command()) != wish.draw_features(command(shard=1))


def test_what_a_grammar_cannot_write_is_made_up_for() -> None:
    written, followed = write(command(count=10), WritingGoals(LEVELS, {"cte": 1.0}))
    assert len(written) == 10 and followed == sum("cte" in sql_features(one.sql).used for one in written)


def test_a_feature_of_few_intents_is_drawn_more_often() -> None:
    written, followed = write(command(), WritingGoals(LEVELS, {"window": 1.0}))
    assert len(written) == 40 and followed >= 20, "its share of hard golds would give one or two"


def test_levels_are_kept_where_the_feature_is_found_at_them() -> None:
    pool = write_examples(seed=3, split="train", shard=0, count=300, levels=LEVELS)
    picked, met = pick_examples(pool, WritingGoals({"medium": 1.0}, {}), ["join"] * 20)
    assert met == 20 and {one.level for one in picked} == {"medium"}


def test_the_prompt_names_the_feature_and_is_unchanged_without_one() -> None:
    given = command(writer="llm", endpoint="e", model="m", count=3)
    plain = make_calls(given, WritingGoals(given.levels, {}), PromptContext())
    same = make_calls(given, WritingGoals(LEVELS, {}), PromptContext())
    told = make_calls(given, WritingGoals(LEVELS, {"having": 1.0}), PromptContext())
    assert same == plain and [one.feature for one in told] == ["having"] * 3
    for before, after in zip(plain, told, strict=True):
        text = after.request.messages[0].content
        assert text.startswith(before.request.messages[0].content) and "has to use HAVING" in text
        assert after.provenance.prompt_hash != before.provenance.prompt_hash


def test_the_commands_own_wishes_need_no_stage() -> None:
    given = command(writer="llm", endpoint="e", model="m", count=3, features={"window": 1})
    goals = read_goals(given, Mock())
    assert {one.feature for one in make_calls(given, goals, PromptContext())} == {"window"}


def test_every_feature_has_words() -> None:
    assert set(FEATURE_WORDS) == set(FEATURES)


def test_what_was_asked_and_done_is_counted() -> None:
    (one,) = write_examples(seed=1, split="train", shard=0, count=1, levels={"hard": 1.0})
    does = one.model_copy(update={"sql": "SELECT a FROM t GROUP BY a HAVING count(*) > 1"})
    assert count_followed([does, does, does], ["having", "window", None]) == 1


def test_weights_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        command(features={"join": -1})
