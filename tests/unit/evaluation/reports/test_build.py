"""The report's sentences, cases and timeline."""

from services.evaluation.model import ArmResults, ReportData
from services.evaluation.reports.build import build_report, build_timeline
from services.evaluation.reports.sentences import ON_POLICY, data_source
from services.evaluation.scoring.comparisons import NO_EFFECT
from shared.contracts.records import Verdict
from tests.unit.evaluation.sample import judged, make_input, make_timeline


def with_verdicts(given, **wanted):
    """The input with arms whose held-out verdicts come from a function of the question's number."""
    arms = []
    for results in given.arms:
        rule = wanted.get(results.arm.id)
        rows = results.rows
        if rule is not None:
            rows = [
                judged(name, Verdict.CORRECT if rule(k) else Verdict.WRONG)
                for k, name in enumerate(sorted(key for key, one in given.examples.items() if one.split == "test"))
            ]
        arms.append(ArmResults(arm=results.arm, rows=rows))
    return given.model_copy(update={"arms": arms})


def rules(dpo, control):
    return build_report(with_verdicts(make_input(), **{"sft": lambda k: k % 2 == 0, "dpo": dpo, "sft-chosen": control}))


def test_credit_needs_the_control_and_sft_below():
    assert "gain is credited" in rules(lambda k: k % 10 < 9, lambda k: k % 2 == 0).credit
    assert NO_EFFECT in rules(lambda k: k % 10 < 9, lambda k: k % 10 != 4).credit
    assert "did worse" in rules(lambda k: k % 10 < 2, lambda k: k % 10 < 9).credit
    assert "is not shown" in rules(lambda k: k % 2 == 1, lambda k: k % 10 < 1).credit


def test_no_credit_without_control_or_dpo():
    given = make_input()
    without = given.model_copy(update={"arms": [one for one in given.arms if one.arm.id != "sft-chosen"]})
    assert "no control arm" in build_report(without).credit
    gone = given.model_copy(update={"arms": [one for one in given.arms if not one.arm.id.startswith("dpo")]})
    credit = build_report(gone).credit
    assert credit == "There is no DPO arm (563 pairs were built), so nothing is credited to preference training."


def test_findings_and_caveats_say_what_must_be_said():
    data = build_report(make_input())
    text, notes = " ".join(data.findings), " ".join(data.caveats)
    assert "3.4 % (5/148)" in text
    assert "DPO vs SFT: +6.1 [-5.4, +17.3] points" in text
    assert NO_EFFECT in text
    assert "2.8 x the clustered bootstrap's standard error" in text
    assert "One training seed" in notes
    assert "The control was not sampled" in notes
    assert ON_POLICY in notes
    assert data.data_source is not None
    assert "offline grammar writer (grammar/1), not by a language model" in data.data_source


def test_source_names_the_llm():
    given = make_input().data
    assert given is not None
    llm = given.model_copy(update={"writer": "llm", "writer_version": "llm/1", "model": "gpt-4o"})
    assert data_source(llm) == "The examples were written by gpt-4o (llm/1)."


def test_cases_are_five_each_from_different_domains():
    data = build_report(make_input())
    for kind, right in (("win", True), ("loss", False)):
        cases = [case for case in data.cases if case.kind == kind]
        assert len(cases) == 5
        assert len({case.example.domain for case in cases}) == 5
        assert all((case.arm.verdict is Verdict.CORRECT) is right for case in cases)
        assert all((case.other.verdict is Verdict.CORRECT) is not right for case in cases)


def test_fewer_cases_where_there_are_fewer():
    data = rules(lambda k: k % 2 == 0 or k == 1, lambda k: k % 2 == 0)
    assert [case.kind for case in data.cases if case.set_name == "held-out"] == ["win"]


def test_same_input_same_bytes_in_any_row_order():
    given = make_input()
    turned = [ArmResults(arm=one.arm, rows=one.rows[::-1]) for one in given.arms]
    examples = dict(reversed(given.examples.items()))
    other = given.model_copy(update={"arms": turned, "examples": examples})
    first = build_report(given).model_dump_json()
    assert first == build_report(make_input()).model_dump_json() == build_report(other).model_dump_json()
    assert ReportData.model_validate_json(first).model_dump_json() == first


def test_timeline_starts_at_zero_and_tells_overlap():
    timeline = build_timeline(make_timeline())
    assert timeline is not None
    assert timeline.stages[0].first_start == 0.0
    assert timeline.wall_seconds == 644.0
    assert timeline.sentences[1] == "Verification began 13.9 s before the last example was written."
    assert timeline.sentences[2] == "Sampling waited for SFT (weak.sft_first): it began 3.8 s after sft ended."
    assert timeline.sentences[3] == "Judging began 106.8 s before the last candidate was sampled."


def test_timeline_of_streamed_sampling():
    stages = [one for one in make_timeline() if one.stage_id in {"synthesis", "sampling"}]
    early = [
        one.model_copy(update={"first_start": stages[0].first_start + 3.2}) if one.stage_id == "sampling" else one
        for one in stages
    ]
    streamed, apart = build_timeline(early), build_timeline(stages)
    assert streamed is not None and apart is not None
    assert streamed.sentences[1] == "Sampling began 12.3 s before the last example was written."
    assert apart.sentences[1] == "Sampling began 2 min 49 s after the last example was written: no overlap."
    assert build_timeline([]) is None
