"""On-policy rounds as a plan: what each reads, when the engine leaves its device, what skipping leaves."""

from typing import Any

import pytest

from services.orchestrator.planning.compile import compile_spec
from shared.contracts.spec import parse_spec
from shared.jobs.plan import JobPlan, Need, Slices
from shared.jobs.state import JobStatus
from tests.unit.orchestrator.model import Counts, Model
from tests.unit.orchestrator.planning.test_compile import ENDPOINTS, JOB, SETS, work

WEAKS: list[dict[str, Any]] = [{}, {"weak": {"sft_first": False}}, ENDPOINTS]


def plan_of(**fields: Any) -> JobPlan:
    return compile_spec(JOB, parse_spec({"kind": "pipeline", **fields}), "cpu:0")


def upstream(plan: JobPlan, stage: str) -> set[str]:
    """Everything that is over before a stage begins."""
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        for name in plan.stage(waiting.pop()).upstream() - found:
            found.add(name)
            waiting.append(name)
    return found


def with_counts(**counts: dict[str, int]) -> Any:
    """Work in which named stages count something of their own."""

    def counted(stage_id: str, shard: int, params: dict[str, Any]) -> Counts:
        usual = {"later": 1, "round": 2} if stage_id.startswith("choose.") else work(stage_id, shard, params) or {}
        return usual | counts.get(stage_id, {})

    return counted


def test_one_round_is_planned_as_without_rounds() -> None:
    plain, one = plan_of(), plan_of(rounds=1)
    assert plain == one
    assert not any(stage.id.startswith("choose") or ".r2" in stage.id for stage in plain.stages)


@pytest.mark.parametrize("fields", WEAKS, ids=str)
@pytest.mark.parametrize("wave", [0.0, 0.5])
def test_rounds_run_to_their_end_in_any_order(fields: dict[str, Any], wave: float) -> None:
    strong = {**fields.get("strong", {}), "follow_errors": wave}
    plan = plan_of(**{**fields, "strong": strong}, rounds=3, evaluate=[*SETS, {"dataset": "builtin:handwritten"}])
    models = [Model(plan, with_counts(), seed).run() for seed in range(3)]
    assert {model.status for model in models} == {JobStatus.SUCCEEDED}
    assert all(model.rows() == models[0].rows() for model in models)
    assert all(rows for rows in models[0].rows().values()), "no stage without shards"


def test_a_later_round_begins_from_what_the_one_before_has_chosen() -> None:
    plan = plan_of(rounds=3, weak={"questions": 50, "samples": 4, "sweep": [0.6, 1.0]})
    for number, before in ((2, "choose.r1"), (3, "choose.r2")):
        chosen = {"stage": before, "job_id": None}
        sample, dpo = plan.stage(f"sample.r{number}"), plan.stage(f"dpo.r{number}")
        assert sample.params["model_from"] == dpo.params["parent_from"] == chosen
        assert plan.stage(f"deploy.weak.r{number}").params["model_from"] == chosen
        assert sample.params["chosen"] == {"stage": "sweep", "job_id": None}
        assert sample.source == Slices(stage="collect.train", output="examples", count="examples", size=24, limit=50)
        assert dpo.params["data"]["stage"] == f"collect.preferences.r{number}"
        assert dpo.need == Need(stage=f"collect.preferences.r{number}", count="pairs", at_least=8)
        assert before in upstream(plan, f"deploy.weak.r{number}")
    seeds = [plan.stage(name).params["seed"] for name in ("sample", "sample.r2", "sample.r3")]
    assert len(set(seeds)) == 3, "the same model is asked anew where a round was not kept"
    arms = [arm["id"] for arm in plan.stage("choose.r3").params["arms"]]
    assert arms == ["sft.selection", "dpo.selection", "dpo.r2.selection", "dpo.r3.selection"]


@pytest.mark.parametrize("fields", WEAKS, ids=str)
@pytest.mark.parametrize("wave", [0.0, 0.5])
def test_the_engine_leaves_the_device_before_every_training(fields: dict[str, Any], wave: float) -> None:
    strong = {**fields.get("strong", {}), "follow_errors": wave}
    plan = plan_of(**{**fields, "strong": strong}, rounds=3)
    held = [one.id for one in plan.stages if one.task == "serving.deploy_model"]
    for training in (one.id for one in plan.stages if one.task == "training.train_model"):
        before = upstream(plan, training)
        for deploy in set(held) & before:
            assert any(plan.stage(one).frees and deploy in upstream(plan, one) for one in before), (
                f"{deploy} still holds the device of {training}"
            )
        for deploy in set(held) - before:
            assert training in upstream(plan, deploy), f"{deploy} could take the device while {training} waits"


def test_too_few_pairs_skip_a_round_and_the_next_one_goes_on() -> None:
    plan = plan_of(rounds=3)
    counted = with_counts(**{"collect.preferences.r2": {"pairs": 3}})
    model = Model(plan, counted).run()
    assert model.status is JobStatus.SUCCEEDED
    empty = {name for name, rows in model.rows().items() if not rows}
    assert empty == {"dpo.r2", "deploy.dpo.r2", "answer.dpo.r2.selection", "judge.dpo.r2.selection"}
    assert len(model.rows()["dpo.r3"]) == len(model.rows()["report"]) == 1


def test_only_a_model_of_a_later_round_is_tested_beside_the_arms() -> None:
    plan = plan_of(rounds=2, evaluate=[*SETS, {"dataset": "builtin:held-out"}])
    first = with_counts(**{"choose.r2": {"later": 0}})
    empty = {name for name, rows in Model(plan, first).run().rows().items() if not rows}
    assert empty == {name for name in (stage.id for stage in plan.stages) if "promoted" in name}
    asked = [one.id for one in plan.stages if one.id.startswith("answer.") and ".r2" in one.id]
    assert asked == ["answer.dpo.r2.selection"], "rounds that are not chosen see no test question"
