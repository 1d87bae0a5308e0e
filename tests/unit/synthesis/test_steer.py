"""Wishes are followed by both writers, by seed alone, and nothing changes where nothing is wished for."""

from collections import Counter
from typing import Any

import pytest

from services.synthesis.grammar.writer import write_examples
from services.synthesis.llm_writer import make_request
from services.synthesis.steer import WORDS, Wanted, asking, pick, used_as_asked
from services.synthesis.tasks import write_steered
from shared.contracts.records import Written
from shared.contracts.synthesis import WriteExamples
from shared.sql.features import FEATURES, sql_features

LEVELS: dict[Any, float] = {"easy": 0.5, "medium": 0.35, "hard": 0.15}
FEATURES_ASKED = {"having": 0.5, "nested": 0.3, "set_operation": 0.2}


def command(**fields: Any) -> WriteExamples:
    ids = {"job_id": "j", "stage": "write.errors", "shard": 0, "attempt": 1, "correlation_id": "c"}
    given = {"writer": "grammar", "split": "train", "count": 40, "levels": LEVELS, "seed": 5}
    return WriteExamples.model_validate({**ids, **given, **fields})


def used(written: list[Written]) -> Counter[str]:
    return Counter(name for one in written for name in sql_features(one.sql).used)


def test_the_grammar_writes_what_is_wished_for() -> None:
    plain, none = write_steered(command(), Wanted(LEVELS, {}))
    steered, followed = write_steered(command(), Wanted(LEVELS, FEATURES_ASKED))
    assert len(plain) == len(steered) == 40 and none == 0
    assert followed >= 30, "the grammar can write most of it"
    for name in FEATURES_ASKED:
        assert used(steered)[name] > used(plain)[name], name
    assert len({(one.domain, one.sql) for one in steered}) == 40, "no example stands twice"


def test_without_wishes_the_writer_writes_as_before() -> None:
    plain, _ = write_steered(command(), Wanted(LEVELS, {}))
    assert plain == write_examples(seed=5, split="train", shard=0, count=40, levels=LEVELS)


def test_equal_wishes_give_equal_examples_and_shards_differ() -> None:
    wish = Wanted(LEVELS, FEATURES_ASKED)
    assert write_steered(command(), wish) == write_steered(command(), wish)
    assert wish.draw(command()) == Wanted(LEVELS, dict(reversed(FEATURES_ASKED.items()))).draw(command())
    assert wish.draw(command()) != wish.draw(command(shard=1))


def test_what_a_grammar_cannot_write_is_made_up_for() -> None:
    written, followed = write_steered(command(count=10), Wanted(LEVELS, {"window": 1.0}))
    assert len(written) == 10 and followed == sum("window" in sql_features(one.sql).used for one in written)


def test_levels_are_kept_where_the_feature_is_found_at_them() -> None:
    pool = write_examples(seed=3, split="train", shard=0, count=300, levels=LEVELS)
    picked, met = pick(pool, Wanted({"medium": 1.0}, {}), ["join"] * 20)
    assert met == 20 and {one.level for one in picked} == {"medium"}


def test_the_prompt_names_the_feature_and_is_unchanged_without_one() -> None:
    given = command(writer="llm", endpoint="e", model="m")
    plain, _, plain_hash = make_request(given, 0, "hard")
    same, _, same_hash = make_request(given, 0, "hard", asking(None))
    told, _, told_hash = make_request(given, 0, "hard", asking("having"))
    assert (same, same_hash) == (plain, plain_hash)
    assert told.messages[0].content.startswith(plain.messages[0].content)
    assert "has to use HAVING" in told.messages[0].content and told_hash != plain_hash


def test_every_feature_has_words() -> None:
    assert set(WORDS) == set(FEATURES)


def test_what_was_asked_and_done_is_counted() -> None:
    (one,) = write_examples(seed=1, split="train", shard=0, count=1, levels={"hard": 1.0})
    does = one.model_copy(update={"sql": "SELECT a FROM t GROUP BY a HAVING count(*) > 1"})
    assert used_as_asked([does, does, does], ["having", "window", None]) == 1


def test_weights_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        command(features={"join": -1})
