"""The second wave as a plan: measured on the first, written to wishes, collected with it."""

from typing import Any

import pytest

from services.orchestrator.planning.synthesis import error_wave_size
from shared.contracts.spec import PipelineSpec, SpecError, parse_spec
from shared.jobs.plan import FixedShards, Slices, TopUp, Waves
from tests.unit.orchestrator.planning.test_compile import ENDPOINTS
from tests.unit.orchestrator.planning.test_rounds import plan_of, upstream

TRAIN = {"sft": [{"synthesis": 200, "per_shard": 20}, {"dataset": "d"}]}


def test_a_wave_lies_between_the_first_set_and_the_one_that_is_trained_on() -> None:
    plan = plan_of(train=TRAIN, strong={"follow_errors": 0.25, "follow_questions": 40})
    write = plan.stage("write.errors")
    assert isinstance(write.source, Waves) and write.source.amount == 50
    assert write.params["wishes"] == {"stage": "profile.errors", "job_id": None}
    assert write.params["seed"] != plan.stage("write.train").params["seed"]
    asked = plan.stage("sample.errors").source
    assert asked == Slices(stage="collect.first", output="examples", count="examples", size=24, limit=40)
    collect = plan.stage("collect.train").params
    verified = [one["accepted"]["stage"] for one in collect["sources"]]
    assert verified == ["verify.train", "load.train1", "verify.errors", "verify.selection"]
    assert collect["limit"] is None, "datasets count themselves"
    assert {"collect.first", "sft.weak", "profile.errors", "verify.errors"} <= upstream(plan, "sft")
    assert plan.stage("sft").params["parent"] is None, "the SFT on both waves begins from the base"
    assert plan.stage("collect.first").params["refuse"] == collect["refuse"]
    assert plan.stage("report").params["error_wave"]["profile"] == {"stage": "profile.errors", "job_id": None}


def test_the_whole_of_a_synthetic_set_is_both_waves() -> None:
    plan = plan_of(train={"sft": [{"synthesis": 200}]}, strong={"follow_errors": 0.25})
    collect = plan.stage("collect.train").params
    assert collect["limit"] == 250
    assert [one["accepted"]["stage"] for one in collect["sources"]] == [
        "verify.train",
        "verify.errors",
        "verify.selection",
    ]


def test_the_second_wave_goes_on_until_the_set_of_both_has_its_amount() -> None:
    plan = plan_of(train={"sft": [{"synthesis": 200}]}, strong={"follow_errors": 0.25})
    assert plan.stage("collect.train").source == TopUp(stage="write.errors")
    write, first = plan.stage("write.errors").source, plan.stage("write.train").source
    assert isinstance(write, Waves) and write.collected == "collect.train"
    assert {"verify.train", "verify.selection"} <= set(write.beside) and "verify.errors" not in write.beside
    assert isinstance(first, Waves) and first.collected is None
    assert isinstance(plan.stage("collect.first").source, FixedShards), "the first set may be of any size"
    with_data = plan_of(train=TRAIN, strong={"follow_errors": 0.25})
    assert isinstance(with_data.stage("collect.train").source, FixedShards)


def test_a_judge_reads_the_second_wave_too() -> None:
    strong = {"endpoint": "s", "model": "m", "judge": True, "budget_usd": 12, "follow_errors": 0.5}
    plan = plan_of(train={"sft": [{"synthesis": 200}]}, strong=strong)
    verified = [one["accepted"]["stage"] for one in plan.stage("collect.train").params["sources"]]
    assert verified == ["review.train", "review.errors", "review.selection"]
    assert plan.stage("review.errors").params["budget_usd"] == pytest.approx(12 / 3 * 0.2)
    assert plan.stage("write.errors").params["budget_usd"] == pytest.approx(12 * 0.8)


def test_wave_and_rounds_write_prompts_in_the_style_of_the_job() -> None:
    shown = {"comments": True, "foreign_keys": True}
    plan = plan_of(rounds=2, strong={"follow_errors": 0.5}, prompt=shown, target="reasoning_sql")
    style = {**shown, "target": "reasoning_sql"}
    prompted = [stage for stage in plan.stages if "sample_rows" in stage.params]
    assert {"sample.errors", "collect.first", "sample.r2", "collect.preferences.r2"} < {one.id for one in prompted}
    assert all(stage.params["style"] == style for stage in prompted)
    assert plan.stage("write.errors").params["target"] == "reasoning_sql"


def test_the_wave_is_written_for_own_databases_too() -> None:
    plan = plan_of(databases=[{"id": "ab" * 32}], strong={"follow_errors": 0.5})
    assert plan.stage("write.errors").params["databases"] == ["ab" * 32]
    assert plan.stage("collect.first").params["given"] == ["ab" * 32]


def test_an_endpoints_weak_model_needs_no_engine_for_the_wave() -> None:
    plan = plan_of(**{**ENDPOINTS, "strong": {**ENDPOINTS["strong"], "follow_errors": 1}})
    names = {stage.id for stage in plan.stages}
    assert not names & {"sft.weak", "deploy.errors", "release.errors"}
    assert plan.stage("sample.errors").params["model"] == "n"
    own = {stage.id for stage in plan_of(weak={"sft_first": False}, strong={"follow_errors": 1}).stages}
    assert "deploy.errors" in own and "sft.weak" not in own


def test_budgets_are_shared_with_the_wave_and_not_doubled() -> None:
    strong = {"endpoint": "s", "model": "m", "budget_usd": 12, "follow_errors": 0.5}
    plan = plan_of(strong=strong, weak={"endpoint": "w", "model": "n", "budget_usd": 4})
    spent = {name: plan.stage(name).params["budget_usd"] for name in ("write.train", "write.errors")}
    assert spent == {"write.train": pytest.approx(8), "write.errors": 12}, "one ledger: what is left is the wave's"
    asked = {name: plan.stage(name).params["budget_usd"] for name in ("sample.errors", "sample")}
    assert asked == {"sample.errors": pytest.approx(1), "sample": pytest.approx(3)}


def test_budgets_of_tokens_are_shared_like_money() -> None:
    strong = {"endpoint": "s", "model": "m", "budget_tokens": 12_000, "follow_errors": 0.5}
    plan = plan_of(strong=strong, weak={"endpoint": "w", "model": "n", "budget_tokens": 4000})
    spent = [plan.stage(name).params["budget_tokens"] for name in ("write.train", "write.errors")]
    assert spent == [8000, 12_000]
    asked = [plan.stage(name).params["budget_tokens"] for name in ("sample.errors", "sample")]
    assert asked == [1000, 3000]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 4])
def test_a_wave_is_a_share_of_what_is_synthesised(share: float) -> None:
    spec = parse_spec({"kind": "pipeline", "train": TRAIN, "strong": {"follow_errors": share}})
    assert isinstance(spec, PipelineSpec)
    assert error_wave_size(spec) == {0.0: 0, 0.001: 1, 0.5: 100, 4: 800}[share]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "pipeline", "train": {"sft": [{"dataset": "d"}]}}, "needs a {synthesis: N} among train.sft"),
        ({"kind": "pairing"}, "for jobs of kind pipeline"),
        ({"kind": "synthesis"}, "for jobs of kind pipeline"),
    ],
)
def test_a_wave_that_nothing_follows_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_spec({**fields, "strong": {"follow_errors": 0.5}})
