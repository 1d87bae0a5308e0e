"""The check of loaded weights and the vote, each by itself."""

import math

import pytest

from services.serving.registry import BrokenModelError, ReferenceLogprobs, check_weights
from services.serving.sql.voting import distinct_statements, elect_sample, normalize_sql
from shared.api.sql import RunResult

BASE = [-1.0, -2.0, -3.0]


def test_a_first_load_has_to_differ_from_its_base_and_be_numbers() -> None:
    found = ReferenceLogprobs(model=[-1.0, -2.5, -3.0], base=BASE)
    assert check_weights("m", found, None) is found
    with pytest.raises(BrokenModelError, match="changes nothing"):
        check_weights("m", ReferenceLogprobs(model=BASE, base=BASE), None)
    for own in ([], [math.nan, 0.0], [-math.inf]):
        with pytest.raises(BrokenModelError, match="no numbers"):
            check_weights("m", ReferenceLogprobs.model_construct(model=own, base=None), None)


@pytest.mark.parametrize(("own", "right"), [([-1.0, -2.52, -3.0], True), (BASE, False), ([-1.0, -3.5, -3.0], False)])
def test_a_later_load_has_to_be_the_first_again(own: list[float], right: bool) -> None:
    recorded = ReferenceLogprobs(model=[-1.0, -2.5, -3.0], base=BASE)
    if right:
        assert check_weights("m", ReferenceLogprobs(model=own, base=BASE), recorded) is recorded
    else:
        with pytest.raises(BrokenModelError, match="recorded reference log-probabilities"):
            check_weights("m", ReferenceLogprobs(model=own, base=BASE), recorded)


def test_another_tokenizer_is_another_model() -> None:
    with pytest.raises(BrokenModelError, match="off by inf"):
        check_weights("m", ReferenceLogprobs(model=BASE[:2]), ReferenceLogprobs(model=BASE))


def run(outcome: str, fingerprint: str | None = None) -> RunResult:
    return RunResult(outcome=outcome, fingerprint=fingerprint)


def test_what_ran_goes_before_what_failed_and_ties_go_to_the_first() -> None:
    answers = ["SELECT bad", "SELECT bad", "no idea", "SELECT 2", "SELECT 1"]
    samples = distinct_statements(answers)
    assert [(one.sql, one.count) for one in samples] == [("SELECT bad", 2), (None, 1), ("SELECT 2", 1), ("SELECT 1", 1)]
    runs = {"SELECT bad": run("unknown_column"), "SELECT 2": run("ok", "b"), "SELECT 1": run("ok", "a")}
    assert elect_sample(samples, runs, "execution").sql == "SELECT 2"


def test_a_result_that_was_not_seen_whole_agrees_with_no_other() -> None:
    samples = distinct_statements(["SELECT 1", "SELECT 2", "SELECT 3"])
    runs = {f"SELECT {n}": run("row_limit") for n in (1, 2)} | {"SELECT 3": run("ok", "x")}
    assert elect_sample(samples, runs, "execution").sql == "SELECT 3"
    assert [one.votes for one in samples] == [1, 1, 1]


def test_text_votes_ignore_case_blanks_and_comments_but_not_quoted_things() -> None:
    assert normalize_sql("SELECT  a -- x\nFROM t") == normalize_sql("select a from /* y */ t")
    assert normalize_sql("SELECT 'A'") != normalize_sql("SELECT 'a'")
