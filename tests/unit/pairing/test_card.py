"""The pair card: every count by name, hostile text harmless, equal inputs equal bytes."""

from typing import Any

from services.pairing.card import PairCardData, render_markdown
from services.pairing.card_html import render_html
from services.pairing.collect import SelectedPairs, measure_shape
from services.pairing.decide import decide_pairs
from services.pairing.error_profile import ErrorTally
from services.pairing.style_probe import StyleProbe
from shared.contracts.pairing import CollectPairs
from shared.contracts.records import SuspectGold
from tests.support.datasets import make_example
from tests.unit.pairing.builders import ERROR, GOOD, WRONG, command, pair, row, rows

EVIL = "<script>alert(1)</script> | *b* `t` \n# head"


def collecting(**fields: Any) -> CollectPairs:
    ids = {"job_id": "j", "stage": "c", "shard": 0, "attempt": 1, "correlation_id": "c"}
    stages = {"pairs": {"stage": "pair"}, "dataset": {"stage": "collect.train"}}
    return CollectPairs.model_validate({**ids, **stages, **fields})


def made(**fields: Any) -> PairCardData:
    tally = ErrorTally()
    for judged in (
        rows(GOOD, WRONG, ERROR),
        [row(0, GOOD, "SELECT a", example="e2"), row(1, WRONG, "select A;", "e2")],
    ):
        tally.add(judged, decide_pairs(judged, command()))
    examples = {name: make_example(1, "0" * 64, question=EVIL) for name in ("e1", "e2")}
    pairs = [pair("e1", rejected_message=EVIL, distance=3), pair("e2", "SELECT `a` FROM t", gold_chosen=True)]
    selected = SelectedPairs(pairs=pairs, outside=4, duplicates=5, too_long=6, syntax_capped=7, over_limit=8)
    given: dict[str, Any] = {
        "command": collecting(max_length=512),
        "selected": selected,
        "tally": tally,
        "probe": StyleProbe(0.5312, 2),
        "suspects": [],
        "examples": examples,
    }
    return PairCardData(**(given | fields))


def test_every_filter_has_its_line() -> None:
    card = render_markdown(made())
    for line in (
        "| pairing: both sides are one text in plain style | 1 |",
        "| pairing: SQLite compiles both sides into one program | 0 |",
        "| pairing: one side is many times longer | 0 |",
        "| pair: its question is not in the collected set | 4 |",
        "| pair: repeated | 5 |",
        "| pair: prompt and answer above the trainer's 512 tokens (estimated) | 6 |",
        "| pair: syntax errors above 25 % of the rejected | 7 |",
        "| pair: above the limit of the spec | 8 |",
        "| every pairing was refused | 1 |",
        "AUC 0.531 (2 pairs",
        "the gold itself",
        "in 1 it is the gold itself",
    ):
        assert line in card, line
    assert card == render_markdown(made())


def test_text_of_others_is_text() -> None:
    card = render_markdown(made())
    assert "<script" not in card and "\n# head" not in card
    assert "`` SELECT `a` FROM t ``" in card


def test_the_page_shows_the_same_with_charts() -> None:
    given = made()
    shape = measure_shape(given.selected.pairs)
    page = render_html(given, shape)
    for said in ("AUC 0.531", "pair: repeated", "Answers by outcome", "Distance of the sides", "Length of the sides"):
        assert said in page, said
    assert "<script" not in page and "&lt;script&gt;" in page, "text of others is text"
    assert "http" not in page.replace("http-equiv", ""), "nothing from outside"
    assert page == render_html(made(), shape)
    assert sum(one.count for one in shape.distances) == len(given.selected.pairs)
    assert sum(one.count for one in shape.chosen) == sum(one.count for one in shape.rejected) == 2


def test_distances_and_lengths_stand_in_the_card_too() -> None:
    card = render_markdown(made())
    assert "### Distance in tokens" in card and "| characters | chosen | | rejected | |" in card


def test_suspects_are_named_up_to_a_number() -> None:
    one = SuspectGold(
        example_id="e", samples=4, agreeing=3, gold="SELECT 1", other="SELECT 2", model="w", question="Q?"
    )
    card = render_markdown(made(suspects=[one] * 25))
    assert card.count("3 of 4 samples") == 20 and "5 more in suspect_golds.jsonl" in card


def test_an_empty_set_has_a_card_too() -> None:
    nothing = made(selected=SelectedPairs(), tally=ErrorTally(), probe=StyleProbe(None, 0), command=collecting())
    card = render_markdown(nothing)
    assert card.startswith("# Pair card\n\n0 pairs on 0 questions, from answers of no model")
    page = render_html(nothing, measure_shape([]))
    assert "too few to say" in page and "<h2>Samples" not in page and 'class="loss' not in page
    assert "too few to say" in card and "trainer's length unknown" in card and "## Samples" not in card
