"""What a judge's answer says."""

import pytest

from services.synthesis.gates.review import read_verdict, review_request
from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from tests.support.planted import make


@pytest.mark.parametrize(
    ("answer", "right", "said"),
    [
        ("yes", True, ""),
        ("**Yes.**", True, ""),
        ("No. The order is missing.", False, "The order is missing."),
        ("no - it counts cities", False, "it counts cities"),
        ("<think>no, wait, yes</think>\nNo: wrong table", False, "wrong table"),
        ("no, wait</think>Yes.", True, ""),
        ("<thinking>yes?</thinking> No. It is a sum.", False, "It is a sum."),
        ("<|channel|>analysis<|message|>yes?<|end|><|start|>assistant<|channel|>final<|message|>No", False, ""),
        ("<think>yes, it may be that", None, ""),
        ("I cannot say.", None, "I cannot say."),
        ("", None, ""),
        ("Nobody knows", None, "Nobody knows"),
    ],
)
def test_a_clear_word_counts(answer: str, right: bool | None, said: str) -> None:
    assert read_verdict(answer) == (right, said)


def test_the_same_example_is_asked_the_same_and_braces_do_no_harm() -> None:
    table = TableCard(name="t", ddl="CREATE TABLE t (a)", columns=[ColumnCard(name="a", type="")], row_count=0)
    card = SchemaCard(database_id="d", tables=[table])
    example = make("d", "Which {a}?", "SELECT a FROM t WHERE a = '{b}'")
    request = review_request(example, card, model="m", rows=3, max_tokens=80)
    assert request == review_request(example, card, model="m", rows=3, max_tokens=80)
    assert "Which {a}?" in request.messages[0].content and "'{b}'" in request.messages[0].content
    assert request.temperature == 0
