"""Specs become plans: which stages, in which order, and what a bad plan is refused for."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.orchestrator.compile import compile_spec
from shared.contracts.spec import parse_spec
from shared.errors import InvalidInputError
from shared.jobs.plan import Each, Fixed, Need, Plan, Slices, StagePlan
from shared.jobs.state import JobStatus
from tests.unit.orchestrator.model import Counts, Model

JOB = "0123456789ab"
ENDPOINTS = {"strong": {"endpoint": "s", "model": "m"}, "weak": {"endpoint": "w", "model": "n"}}


def plan_of(kind: str, **fields: Any) -> Plan:
    return compile_spec(JOB, parse_spec({"kind": kind, **fields}), "cpu:0")


def stage(name: str = "a", task: str = "synthesis.collect", **fields: Any) -> StagePlan:
    return StagePlan.model_validate({"id": name, "task": task, "source": Fixed(shards=[{}])} | fields)


def work(stage_id: str, shard: int, params: dict[str, Any]) -> Counts:
    """Accepts most of what is written; enough pairs."""
    kind = stage_id.split(".", maxsplit=1)[0]
    return {
        "verify": {"accepted": 15 + shard % 3},
        "collect": {"examples": 100, "selection": 40, "pairs": 50},
    }.get(kind, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "pipeline"},
        {"kind": "pipeline", **ENDPOINTS},
        {"kind": "pipeline", "weak": {"sft_first": False}},
        {"kind": "pipeline", "train": {"sft": [{}, {"synthesis": 40}], "pairs": [{"synthesis": 30}]}},
        {"kind": "synthesis"},
        {"kind": "pairing"},
        {"kind": "pairing", **ENDPOINTS},
        {"kind": "pairing", **ENDPOINTS, "train": {"sft": [{}, {"synthesis": 40}]}},
        {"kind": "pairing", "weak": {"sft_first": False}},
        {"kind": "sft", "data": "job:abc"},
        {"kind": "dpo", "data": "job:abc", "parent": "m"},
        {"kind": "deployment", "model": "m"},
        {"kind": "evaluation", "models": ["m"]},
    ],
    ids=str,
)
def test_every_kind_runs_to_its_end_in_the_model(fields: dict[str, Any]) -> None:
    plan = compile_spec(JOB, parse_spec(fields), "cpu:0")
    models = [Model(plan, work, seed).run() for seed in range(4)]
    assert {model.status for model in models} == {JobStatus.SUCCEEDED}
    assert all(model.rows() == models[0].rows() for model in models)
    assert all(rows for rows in models[0].rows().values()), "no stage without shards"


def test_few_pairs_skip_preference_training_and_leave_a_report() -> None:
    def few(stage_id: str, shard: int, params: dict[str, Any]) -> Counts:
        counts = work(stage_id, shard, params) or {}
        return counts | ({"pairs": 3} if "pairs" in counts else {})

    model = Model(plan_of("pipeline"), few).run()
    assert model.status is JobStatus.SUCCEEDED
    empty = {name for name, rows in model.rows().items() if not rows}
    assert {"dpo", "control", "deploy.dpo", "answer.dpo", "judge.dpo"} <= empty
    assert len(model.rows()["report"]) == 1
    assert len(model.rows()["judge.sft"]) > 0


def test_an_endpoints_weak_model_is_sampled_as_examples_are_verified() -> None:
    source = plan_of("pairing", **ENDPOINTS).stage("sample").source
    assert source == Each(stage="verify.train", fields={"examples": "examples"})


def test_all_sources_of_training_data_are_sampled() -> None:
    plan = plan_of("pairing", **ENDPOINTS, train={"sft": [{}, {"synthesis": 40}]})
    source = plan.stage("sample").source
    assert isinstance(source, Slices) and source.stage == "collect.train"
    plan = plan_of("pairing", **ENDPOINTS, train={"pairs": [{"synthesis": 8}, {"synthesis": 40}]})
    source = plan.stage("sample").source
    assert isinstance(source, Slices) and source.stage == "collect.pairs"
    collect = plan.stage("collect.pairs")
    assert (collect.after, collect.params["limit"]) == (["verify.pairs", "verify.pairs1"], 48)


def test_a_device_is_released_before_training() -> None:
    plan = plan_of("pipeline")
    order = [one.id for one in plan.stages]
    assert order.index("release.before") < order.index("sft")
    assert "release.before" in plan.stage("sft").after
    assert "release.weak" in plan.stage("dpo").after
    trainings = [one for one in plan.stages if one.task == "training.train_model"]
    assert {one.device and one.device.hold for one in trainings} == {"shard"}


def test_training_exports_refuse_the_test_sets() -> None:
    params = plan_of("pipeline").stage("collect.train").params
    assert params["refuse"] == [{"stage": "collect.test", "job_id": None}]


@pytest.mark.parametrize(
    ("stages", "match"),
    [
        ([stage("a"), stage("a")], "stands twice"),
        ([stage("a", after=["b"]), stage("b")], "comes before"),
        ([stage("a", after=["a"])], "comes before"),
        ([stage("a", source=Each(stage="b", fields={"x": "y"})), stage("b")], "comes before"),
        ([stage("a", need=Need(stage="b", count="x", at_least=1)), stage("b")], "comes before"),
        ([stage("a", source=Slices(stage="b", output="o", count="c", size=1)), stage("b")], "comes before"),
        ([stage("a", params={"limmit": 3})], "has no field"),
        ([stage("a", task="synthesis.dream")], "no task"),
        ([stage("a", source=Fixed(shards=[{"limmit": 3}]))], "has no field"),
    ],
)
def test_a_plan_with_a_fault_is_refused(stages: list[StagePlan], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Plan(stages=stages)


@pytest.mark.parametrize("models", [["m", "m"], ["Weird Name"], ["smollm2-135m"], ["a/b"]])
def test_models_that_make_no_plan_are_the_users_error(models: list[str]) -> None:
    """Not a `ValidationError`: it would end the orchestrator and every job with it."""
    try:
        plan = plan_of("evaluation", models=models)
    except InvalidInputError as error:
        assert "plan" in error.message
    else:
        assert len({one.id for one in plan.stages}) == len(plan.stages)
