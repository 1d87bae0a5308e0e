"""Every renderer shows the required parts, escapes what is hostile, and survives what is missing."""

import re
from html.parser import HTMLParser

import pytest

from services.evaluation.model import ArmResults, ReportInput
from services.evaluation.reports.build import build_report
from services.evaluation.reports.html import render_html
from services.evaluation.reports.text import render_markdown, render_terminal
from shared.contracts.records import Verdict
from shared.pages.charts import difference_marks, loss_chart, ticks
from tests.unit.evaluation.sample import example, judged, make_input

RENDERERS = [render_html, render_markdown, render_terminal]
EVIL = "<script>alert('x')</script> | `tick` \x1b[31m"
VOID = {"meta"}


class Balance(HTMLParser):
    """Counts tags and remembers those left open."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


@pytest.fixture(scope="module")
def data():
    return build_report(make_input())


@pytest.mark.parametrize("render", RENDERERS)
def test_required_parts(data, render):
    text = re.sub(r"\s+", " ", render(data)).replace("&#39;", "'")
    for part in (
        "main-demo", "71.6 % (106/148)", "+6.1 [-5.4, +17.3]", "no effect shown at this size", "One training seed",
        "on-policy, not the paper's weak model", "SFT + chosen", "pass@8", "is promoted", "30 of 30 questions count",
        "no gain is credited", "grammar/1", "McNemar p",
    ):  # fmt: skip
        assert part in text.replace("\\", ""), part


def test_html_is_whole_and_needs_nothing_from_outside(data):
    html = render_html(data)
    assert {"svg", "table", "details", "polyline"} <= parsed(html)
    assert "script" not in parsed(html)
    assert not re.search(r"https?://|<link|<img|@import|url\(", html)
    assert "prefers-color-scheme: dark" in html
    assert html.count('class="case"') == 10
    assert html.count('class="loss"') == 3
    assert html.count('class="shard"') == 64
    assert "18 rows, the first 5 shown" in html


def test_terminal_fits_110_columns(data):
    lines = render_terminal(data).splitlines()
    assert max(map(len, lines)) <= 110
    row = next(line for line in lines if line.startswith("DPO vs SFT "))
    assert row.endswith("no effect shown at this size")


def test_long_titles_keep_the_readings():
    given = make_input()
    arms = [
        one.model_copy(update={"arm": one.arm.model_copy(update={"title": one.arm.title * 12})}) for one in given.arms
    ]
    lines = render_terminal(build_report(given.model_copy(update={"arms": arms}))).splitlines()
    assert max(map(len, lines)) <= 110
    assert sum(line.endswith("  no effect shown at this size") for line in lines) >= 3


@pytest.mark.parametrize("render", RENDERERS)
def test_same_bytes_twice(data, render):
    assert render(data) == render(build_report(make_input()))


def hostile() -> ReportInput:
    """Hostile text wherever a user or a model may write it."""
    given = make_input()
    examples = {
        key: one.model_copy(update={"question": EVIL, "gold": EVIL, "domain": EVIL})
        for key, one in given.examples.items()
    }
    arms = []
    for one in given.arms:
        rows = [
            row.model_copy(
                update={
                    "candidate": row.candidate.model_copy(update={"sql": EVIL}),
                    "message": EVIL,
                    "result": row.result and row.result.model_copy(update={"rows": [[EVIL]], "columns": [EVIL]}),
                }
            )
            for row in one.rows
        ]
        arms.append(ArmResults(arm=one.arm.model_copy(update={"title": EVIL + one.arm.title}), rows=rows))
    return given.model_copy(
        update={"examples": examples, "arms": arms, "job_name": EVIL, "environment": {EVIL: [EVIL], "model": EVIL}}
    )


def test_hostile_text_is_escaped():
    data = build_report(hostile())
    html, markdown, terminal = (render(data) for render in RENDERERS)
    assert "script" not in parsed(html)
    assert html.count("&lt;script&gt;") > 50
    outside_fences = re.sub(r"(?ms)^(`{3,})sql\n.*?^\1$", "", markdown)
    assert "<script" not in outside_fences
    assert "\x1b" not in terminal


def test_fences_are_longer_than_backticks_inside():
    given = make_input()
    tricky = "SELECT 1 -- \n```\n# not a heading"
    examples = {key: one.model_copy(update={"gold": tricky}) for key, one in given.examples.items()}
    markdown = render_markdown(build_report(given.model_copy(update={"examples": examples})))
    assert f"````sql\n{tricky}\n````" in markdown


def no_pairs(given: ReportInput) -> ReportInput:
    assert given.pairs is not None
    pairs = given.pairs.model_copy(update={"pairs": 0, "verdicts": {}, "questions": 0})
    arms = [one for one in given.arms if not one.arm.id.startswith(("dpo", "sft-chosen"))]
    return given.model_copy(update={"pairs": pairs, "arms": arms, "candidates": given.candidates[:1]})


def one_database(given: ReportInput) -> ReportInput:
    examples = {key: one.model_copy(update={"database_id": "d"}) for key, one in given.examples.items()}
    return given.model_copy(update={"examples": examples})


def silent_dpo(given: ReportInput) -> ReportInput:
    arms = [one.model_copy(update={"rows": []}) if one.arm.id == "dpo" else one for one in given.arms]
    return given.model_copy(update={"arms": arms})


def single_arm(given: ReportInput) -> ReportInput:
    one = example(0, "test", "alone")
    return ReportInput(
        job_id="j", job_name="n", examples={one.example_id: one},
        arms=[ArmResults(arm=given.arms[2].arm, rows=[judged(one.example_id, Verdict.GOLD_FAILED)])],
    )  # fmt: skip


def nothing(given: ReportInput) -> ReportInput:
    return ReportInput(job_id="j", job_name="n", examples={}, arms=[])


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_pairs, "There is no DPO arm (0 pairs were built)"),
        (one_database, "not testable: fewer than two databases"),
        (silent_dpo, "DPO has no answers, so it has no score"),
        (single_arm, "1 of 1 questions left out because the gold failed"),
        (nothing, "There is no DPO arm"),
    ],
)
def test_missing_parts_are_said(render, change, words):
    text = render(build_report(change(make_input())))
    assert words in re.sub(r"\s+", " ", text)
    if render is render_html:
        parsed(text)


def test_loss_chart_leaves_out_what_is_not_finite():
    assert loss_chart([(1, float("nan")), (2, float("inf"))]) == ""
    assert "polyline" not in loss_chart([(1, 0.5), (2, float("nan"))])
    assert "nan" not in loss_chart([(1, 0.5), (2, float("nan")), (3, 0.4)])
    assert loss_chart([(1, 0.5), (3, 0.5)]).count(",") == 2
    assert loss_chart([(k, 1 / (k + 1)) for k in range(10_000)]).count(",") < 400


def test_ticks_and_marks():
    assert ticks(0, 644, 6) == [0, 200, 400, 600]
    assert ticks(0.16, 0.37, 4) == [0.2, 0.3]
    assert ticks(0, 0, 4) == [0]
    assert difference_marks([(-8.8, 70.7)], [10.0]) == [-20, 0, 20, 40, 60, 80]
    assert difference_marks([None], [0.0]) == [-6, -4, -2, 0, 2, 4, 6]


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_what_the_weak_model_gets_wrong_is_told(data, render):
    text = re.sub(r"\s+", " ", render(data)).replace("\\", "")
    assert all(part in text for part in ("Outcome of the answer", "The gold uses", "set operation", "77.5 %"))


@pytest.mark.parametrize("render", [render_markdown, render_html])
def test_rounds_and_the_second_wave_are_told(data, render):
    text = " ".join(render(data).replace("\N{NO-BREAK SPACE}", " ").split())
    for said in (
        "Rounds of preference training",
        "35.0 % (21/60)",
        "kept, the best",
        "skipped: 5 pairs, 8 are needed",
        "The second wave",
        "190 of 384 answers of demo-sft.weak to the first wave were not right",
        "731 use the feature drawn for them",
        "51.5 % (402)",
        "2 rounds were held against the SFT model on 60 selection questions",
        "The control has the steps of the first round",
    ):
        assert said in text, said


def test_charts_of_pairs_stand_in_the_page(data):
    page = render_html(data)
    for said in (
        "Answers by outcome",
        "Not right, by what the gold uses",
        'class="loss histogram"',
        'class="rejected"',
    ):
        assert said in page, said
    assert "Length, characters" in render_markdown(data), "what has no charts has the numbers"
