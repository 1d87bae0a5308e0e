"""Specs become plans: which stages, in which order, and what a bad plan is refused for."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.orchestrator.planning.compile import compile_spec
from shared.contracts.spec import parse_spec
from shared.errors import InvalidInputError
from shared.jobs.plan import EachShard, FixedShards, JobPlan, Need, Slices, StagePlan
from shared.jobs.state import JobStatus
from tests.unit.orchestrator.model import Counts, Model

JOB = "0123456789ab"
SETS = [{"dataset": "d", "policy": "spider"}, {"dataset": "d", "samples": 4, "policy": "bird"}, {"dataset": "e"}]
ENDPOINTS = {"strong": {"endpoint": "s", "model": "m"}, "weak": {"endpoint": "w", "model": "n"}}


def plan_of(kind: str, **fields: Any) -> JobPlan:
    return compile_spec(JOB, parse_spec({"kind": kind, **fields}), "cpu:0")


def stage(name: str = "a", task: str = "synthesis.collect", **fields: Any) -> StagePlan:
    return StagePlan.model_validate({"id": name, "task": task, "source": FixedShards(shards=[{}])} | fields)


def work(stage_id: str, shard: int, params: dict[str, Any]) -> Counts:
    """Accepts most of what is written; enough pairs."""
    kind = stage_id.split(".", maxsplit=1)[0]
    return {
        "load": {"examples": 60},
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
        {"kind": "evaluation", "models": [{"endpoint": "e", "model": "Org/M"}], "evaluate": SETS},
        {"kind": "evaluation", "models": ["m"], "evaluate": [*SETS, {"dataset": "builtin:handwritten"}]},
        {"kind": "pipeline", "train": {"sft": [{"dataset": "d"}, {}]}, "evaluate": SETS},
        {"kind": "pipeline", "train": {"sft": [{"dataset": "d"}], "pairs": [{"dataset": "d"}]}},
        {"kind": "pairing", **ENDPOINTS, "train": {"sft": [{"dataset": "d"}]}},
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
    assert source == EachShard(stage="verify.train", fields={"examples": "examples"})


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


def test_data_sets_are_loaded_first_and_refused_by_every_training_export() -> None:
    plan = plan_of("pipeline", train={"sft": [{"dataset": "d"}], "pairs": [{"dataset": "p"}]}, evaluate=SETS[:1])
    for stage in ("collect.train", "collect.pairs"):
        collect = plan.stage(stage)
        assert collect.params["refuse"] == [{"stage": "load.d.dev", "job_id": None}]
        assert "load.d.dev" in collect.after
    assert "collect.test" not in {one.id for one in plan.stages}
    assert plan.stage("load.train").params["selection"] == 40
    assert plan.stage("load.pairs").params["selection"] == 0
    assert plan.stage("sample").source == Slices(
        stage="collect.pairs", output="examples", count="examples", size=24, limit=None
    )


def test_an_official_policy_is_judged_with_strict_beside_it() -> None:
    models = [{"endpoint": "e", "model": "Org/M"}]
    plan = plan_of("evaluation", models=models, evaluate=[*SETS, SETS[0]])
    policies = {one.id: one.params["policy"] for one in plan.stages if one.task == "sandbox.judge_candidates"}
    assert policies == {
        "judge.e-org-m-1.d.dev": "spider",
        "judge.e-org-m-1.d.dev.strict": "strict",
        "judge.e-org-m-1.d.dev-2": "bird",
        "judge.e-org-m-1.d.dev-2.strict": "strict",
        "judge.e-org-m-1.e.dev": "strict",
        "judge.e-org-m-1.d.dev-3": "spider",
        "judge.e-org-m-1.d.dev-3.strict": "strict",
    }
    assert not any(one.task.startswith("serving.") for one in plan.stages), "no engine for an endpoint's model"
    sampled = plan.stage("answer.e-org-m-1.d.dev-2").params
    assert (sampled["samples"], sampled["temperature"], sampled["max_tokens"]) == (4, 1.0, 512)
    assert set(policies) == set(plan.stage("report").after)


@pytest.mark.parametrize(
    ("stages", "match"),
    [
        ([stage("a"), stage("a")], "stands twice"),
        ([stage("a", after=["b"]), stage("b")], "comes before"),
        ([stage("a", after=["a"])], "comes before"),
        ([stage("a", source=EachShard(stage="b", fields={"x": "y"})), stage("b")], "comes before"),
        ([stage("a", need=Need(stage="b", count="x", at_least=1)), stage("b")], "comes before"),
        ([stage("a", source=Slices(stage="b", output="o", count="c", size=1)), stage("b")], "comes before"),
        ([stage("a", params={"limmit": 3})], "has no field"),
        ([stage("a", task="synthesis.dream")], "no task"),
        ([stage("a", source=FixedShards(shards=[{"limmit": 3}]))], "has no field"),
    ],
)
def test_a_plan_with_a_fault_is_refused(stages: list[StagePlan], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        JobPlan(stages=stages)


@pytest.mark.parametrize("models", [["m", "m"], ["Weird Name"], ["smollm2-135m"], ["a/b"]])
def test_models_that_make_no_plan_are_the_users_error(models: list[str]) -> None:
    """Not a `ValidationError`: it would end the orchestrator and every job with it."""
    try:
        plan = plan_of("evaluation", models=models)
    except InvalidInputError as error:
        assert "plan" in error.message
    else:
        assert len({one.id for one in plan.stages}) == len(plan.stages)
