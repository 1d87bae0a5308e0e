"""Datasets as sources: which questions, for what, and what test sets and selection keep out of training."""

from typing import Any

import pytest

from services.synthesis.collecting.collect import collect
from services.synthesis.load_dataset import select_examples
from shared.contracts.records import Example
from shared.contracts.synthesis import LoadDataset
from tests.support.datasets import make_example

REF = f"singers@{'0' * 16}"


def rows(databases: int, each: int, split: str = "train") -> list[Example]:
    """Questions on several databases, in the dataset's order."""
    return [
        make_example(number, f"{number // each:064x}", split, domain=f"d{number // each}")
        for number in range(databases * each)
    ]


def command(**fields: Any) -> LoadDataset:
    own = {"job_id": "j", "stage": "load.train", "shard": 0, "attempt": 1, "correlation_id": "c"}
    return LoadDataset.model_validate({**own, "dataset": REF, "split": "train", "use": "train", **fields})


def test_a_test_set_is_whole_and_in_order_or_cut_over_all_databases() -> None:
    found = select_examples(command(split="dev", use="test"), [*rows(2, 3, "dev"), *rows(1, 2)])
    assert [one.index for one in found.examples] == [0, 1, 2, 3, 4, 5]
    assert {(one.split, one.dataset) for one in found.examples} == {("test", REF)}
    cut = select_examples(command(split="dev", use="test", questions=4), rows(2, 3, "dev"))
    assert [one.index for one in cut.examples] == [0, 3, 1, 4]


def test_a_share_is_drawn_by_seed_and_golds_that_fail_are_left_out() -> None:
    every = rows(4, 25)
    half = select_examples(command(weight=0.5), every)
    assert len(half.examples) == 50 and half == select_examples(command(weight=0.5), every)
    assert half != select_examples(command(weight=0.5, seed=1), every)
    assert [one.index for one in half.examples] == sorted(one.index or 0 for one in half.examples)
    assert len(select_examples(command(weight=0.5, questions=7), every).examples) == 7
    healthy = select_examples(command(), every, {0, 99})
    assert (len(healthy.examples), healthy.gold_failed) == (98, 2)
    assert len(select_examples(command(split="train", use="test"), every, {0}).examples) == 100


def test_selection_takes_whole_databases() -> None:
    found = select_examples(command(selection=15), rows(8, 10))
    selection = {one.database_id for one in found.examples if one.split == "selection"}
    train = {one.database_id for one in found.examples if one.split == "train"}
    assert (found.selection, len(selection), selection & train) == (15, 2, set())
    assert (len(found.examples), found.held_back) == (75, 5)
    alone = select_examples(command(selection=15), rows(1, 30))
    assert (alone.selection, len(alone.examples)) == (0, 30), "one database gives no selection split"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": " who is NUMBER 1 "}, "leaked"),
        ({"gold": "select name from singer WHERE id = 1 ;"}, "leaked"),
        ({"database_id": "f" * 64, "gold": "SELECT name FROM singer WHERE id = 1"}, None),
        ({"gold": "SELECT 5"}, None),
    ],
    ids=str,
)
def test_question_or_gold_on_its_database_leaks(changes: dict[str, Any], reason: str | None) -> None:
    (test,) = [make_example(1, "0" * 64, "test")]
    own = make_example(9, **{"database_id": "0" * 64, "split": "train", "question": "Another?", **changes})
    dataset = collect([own], [test], None)
    assert (dataset.leaked, len(dataset.examples)) == ((1, 0) if reason else (0, 1))
    assert dataset.beside_tests == sum(one.database_id == "0" * 64 for one in dataset.examples)


def test_synthesis_on_a_tests_database_is_refused_as_ever() -> None:
    test = make_example(1, "0" * 64, "test")
    source = test.provenance.model_copy(update={"writer": "grammar"})
    own = make_example(9, "0" * 64, "train", question="Another?", gold="SELECT 5", provenance=source)
    assert collect([own], [test], None).leaked == 1


def test_another_sets_questions_on_selection_databases_are_held_back() -> None:
    first = select_examples(command(selection=10), rows(8, 10)).examples
    again = [one.model_copy(update={"question": f"{one.question} Once more."}) for one in rows(8, 10)]
    dataset = collect([*first, *select_examples(command(), again).examples], [], None)
    aside = {one.database_id for one in dataset.selection}
    assert not aside & {one.database_id for one in dataset.examples}
    assert (len(dataset.selection), dataset.held_back, len(dataset.examples)) == (10, 10, 140)
