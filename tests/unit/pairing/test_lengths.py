"""Lengths without a tokenizer, against one."""

import pytest

from services.pairing.collect import TOKENS_PER_MESSAGE, LengthEstimator, estimate_message_tokens, estimate_tokens
from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.sql.prompt import render_messages
from tests.support.benchmarks import needs_data, read_json
from tests.support.datasets import make_example


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("SELECT name", 3),
        ("a  b", 3),
        ("a\nb", 3),
        ("2024", 4),
        ("a_b", 3),
        (">= 'x'", 5),
        ("internationalisation", 5),
        ("日本語", 3),
        ("\t\t", 2),
    ],
)
def test_pieces(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


class Cards:
    """A catalogue of one database."""

    def card(self, database_id: str) -> SchemaCard:
        columns = [ColumnCard(name="name", type="TEXT")]
        table = TableCard(name="singer", ddl="CREATE TABLE singer (name TEXT)", columns=columns, row_count=1)
        return SchemaCard(database_id=database_id, tables=[table])


def test_a_rows_length_is_its_prompt_and_its_longest_answer() -> None:
    example = make_example(1, "0" * 64, evidence="old means above 30")
    lengths = LengthEstimator(Cards(), 3)  # type: ignore[arg-type]
    card = Cards().card("0" * 64)
    prompt = estimate_message_tokens(render_messages(card, example.question, evidence=example.evidence, rows=3))
    answer = TOKENS_PER_MESSAGE + estimate_tokens("SELECT name FROM singer")
    assert lengths.longest(example, ["SELECT 1", "SELECT name FROM singer"]) == pytest.approx(prompt + answer, abs=2)


@pytest.mark.model
@needs_data
def test_the_estimate_is_seldom_below_the_small_models_count() -> None:
    from transformers import AutoTokenizer

    from tests.support.small_model import small_model

    tokenizer = AutoTokenizer.from_pretrained(str(small_model()))
    texts = [f"{one['question']}\n{one['evidence']}\n{one['SQL']}" for one in read_json("bird/dev.json")[::5]]
    ratios = sorted(estimate_tokens(text) / len(tokenizer(text)["input_ids"]) for text in texts)
    assert ratios[0] > 0.85
    assert ratios[len(ratios) // 20] > 0.95
    assert ratios[len(ratios) // 2] < 1.3
