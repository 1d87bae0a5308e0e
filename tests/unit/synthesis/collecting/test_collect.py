"""Making a dataset: duplicates, leaks, limits."""

import pytest

from services.synthesis.collecting.collect import collect, interleave
from services.synthesis.gates.features import question_key
from shared.contracts.records import Example, Provenance, Split

SOURCE = Provenance(writer="grammar", writer_version="grammar/1", seed=1, source="t1")


def example(question: str, database: str = "d1", *, split: Split = "train") -> Example:
    return Example(
        example_id=f"{database}-{question}",
        database_id=database,
        domain=f"domain {database}",
        split=split,
        level="easy",
        question=question,
        gold="SELECT 1",
        provenance=SOURCE,
    )


def test_order_is_kept_and_repeats_are_counted() -> None:
    rows = [example("B?"), example("A?"), example("b ?"), example("B?", "d2"), example("  b. ")]
    dataset = collect(rows, [], None)
    assert dataset.examples == [rows[0], rows[1], rows[3]]
    assert (dataset.duplicates, dataset.leaked) == (2, 0)


@pytest.mark.parametrize("question", ["How many?", "how  many", "HOW MANY ?", "How\tmany."])
def test_marks_spaces_and_case_do_not_make_a_question(question: str) -> None:
    assert question_key(question) == "how many"


def test_a_test_sets_questions_and_databases_are_refused() -> None:
    tests = [example("Secret?", "t1", split="test")]
    rows = [example("secret", "d1"), example("Other?", "t1"), example("Fine?")]
    dataset = collect(rows, tests, None)
    assert dataset.examples == [rows[2]]
    assert (dataset.leaked, dataset.duplicates) == (2, 0)


def test_the_limit_cuts_training_examples_alone() -> None:
    rows = [example(f"q{n}") for n in range(5)] + [example(f"s{n}", split="selection") for n in range(4)]
    dataset = collect(rows, [], 3)
    assert dataset.examples == rows[:3]
    assert len(dataset.selection) == 4
    assert collect([], [], 3).examples == []


def test_interleaving_visits_every_database_before_any_again() -> None:
    rows = [example(f"q{n}", f"d{n % 3}") for n in range(7)]
    mixed = interleave(rows)
    assert sorted(one.example_id for one in mixed) == sorted(one.example_id for one in rows)
    assert [one.database_id for one in mixed] == ["d0", "d1", "d2", "d0", "d1", "d2", "d0"]
    assert interleave([]) == []
