"""The dataset card: every count, both forms, text of others escaped."""

import re
from xml.etree import ElementTree

from services.synthesis.collecting.card import CardFacts, charts, gather_facts, render_markdown
from services.synthesis.collecting.card_html import render_html
from shared.contracts.records import Example, PromptStyle, Provenance, RejectedExample, WrittenExample
from shared.jobs.state import ShardRecord, ShardState
from shared.pages.charts import count_chart, largest_counts

NASTY = "<script>alert(1)</script> | pipes"


def example(number: int, *, writer: str = "llm", **fields: object) -> Example:
    made = {
        "writer": writer,
        "writer_version": "v",
        "seed": 1,
        "source": "s",
        "model": "m" if writer == "llm" else None,
    }
    seeds = {"seed_source": "spider@0", "seed_licence": "CC BY-SA 4.0"} if writer == "llm" else {}
    row = {
        "example_id": str(number),
        "database_id": f"d{number % 3}",
        "domain": NASTY if number == 0 else f"domain {number}",
        "split": "train",
        "level": ("easy", "medium", "hard")[number % 3],
        "question": f"How many {NASTY}?",
        "gold": f"SELECT COUNT(*) FROM t WHERE x = {number}",
        "provenance": Provenance.model_validate(made | seeds),
    }
    return Example.model_validate(row | fields)


def rejected(reason: str) -> RejectedExample:
    made = Provenance(writer="llm", writer_version="v", seed=1, source="s")
    return RejectedExample(
        reason=reason, detail="", written=WrittenExample(domain="", level="easy", question="", sql="", provenance=made)
    )


def facts() -> CardFacts:
    rows = [example(n) for n in range(40)]
    rows += [example(50, writer="imported", dataset="mine@1", hardness="extra", evidence="known", reasoning="so")]
    costs = {"micro_usd": 0, "answer_micro_usd": 1500, "answer_prompt_tokens": 10, "answer_completion_tokens": 5}
    written = [ShardRecord(stage="w", shard=n, state=ShardState.DONE, attempt=1, counts=costs) for n in range(2)]
    refused = [rejected("answer_empty"), rejected("gold_empty"), rejected("gold_empty"), rejected("schema_failed")]
    style = PromptStyle(target="reasoning_sql")
    return gather_facts(rows, refused, written, user_databases=["d0"], style=style, prompt="create-select/1 rows=3")


def test_everything_is_counted() -> None:
    found = facts()
    assert (found.examples, len(found.databases), len(found.domains), found.for_user_databases) == (41, 3, 41, 14)
    assert found.levels == {"easy": 14, "medium": 13, "hard": 14}
    assert found.rejected == {("parse", "answer_empty"): 1, ("verify", "gold_empty"): 2, ("build", "schema_failed"): 1}
    assert charts(found)["SQL feature"] == {"aggregate": 41}
    assert (found.with_reasoning, found.with_evidence, found.imported) == (1, 1, 1)
    assert all(len(one) <= 2 for one in found.samples.values())


def test_both_cards_say_the_same_and_are_the_same_each_time() -> None:
    licences = {"mine@1": "none stated"}
    card, page = render_markdown(facts(), licences), render_html(facts(), licences)
    assert (card, page) == (render_markdown(facts(), licences), render_html(facts(), licences))
    for said in ("worth 0.0030 US dollars", "CC BY-SA 4.0", "gold_empty", "40 an outline read off the SQL", "11 more"):
        assert said in card and said in page
    assert "1 are imported (mine@1)" in card and "| build | schema_failed | 1 |" in card


def test_text_of_others_stays_text() -> None:
    card, page = render_markdown(facts(), {}), render_html(facts(), {})
    assert "<script" not in page
    assert "| &lt;script>alert(1)&lt;/script> \\| pipes | 1 |" in card
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 5
    for chart in charts:
        ElementTree.fromstring(chart)


def test_an_empty_dataset_has_a_card() -> None:
    empty = gather_facts([], [], [], user_databases=[], style=PromptStyle(), prompt="p")
    assert "0 training examples" in render_markdown(empty, {}) and "0 training examples" in render_html(empty, {})


def test_bars_are_drawn_to_scale() -> None:
    chart = ElementTree.fromstring(count_chart("A <title>", {"a": 10, "b & c": 5, "none": 0}))
    widths = [float(bar.attrib["width"]) for bar in chart.iter("rect")]
    assert widths[0] == 2 * widths[1] and widths[2] == 0
    assert count_chart("x", {}) == ""
    assert largest_counts({"a": 1, "b": 3, "c": 2}, 2) == {"b": 3, "c": 2, "1 more": 1}
