"""The contracts against the design's table, and every command against the plans that fill it."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.orchestrator.planning.compile import compile_spec
from services.pairing.tasks import TASKS as PAIRING
from services.sandbox.tasks import TASKS as SANDBOX
from services.serving.tasks import TASKS as SERVING
from services.synthesis.tasks import TASKS as SYNTHESIS
from shared.contracts.base import Command, Counts, ObjectRef, Queue, StageRef, TaskContract
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import parse_spec
from shared.jobs.plan import EachShard, FixedShards, JobPlan, Slices, StagePlan, TopUp, Waves
from shared.tasks.app import make_app

# The table of the design's first section: task, queue, fact.
TABLE = {
    ("synthesis.write_examples", "synthesis", "examples.written"),
    ("sandbox.build_database", "sandbox", "databases.built"),
    ("sandbox.verify_examples", "sandbox", "examples.verified"),
    ("synthesis.review_examples", "synthesis", "examples.reviewed"),
    ("synthesis.load_dataset", "synthesis", "dataset.loaded"),
    ("synthesis.collect", "synthesis", "dataset.collected"),
    ("pairing.sample_candidates", "pairing", "candidates.sampled"),
    ("sandbox.judge_candidates", "sandbox", "candidates.judged"),
    ("pairing.choose_temperature", "pairing", "temperature.chosen"),
    ("pairing.profile_errors", "pairing", "errors.profiled"),
    ("pairing.build_pairs", "pairing", "pairs.built"),
    ("pairing.collect", "pairing", "pairs.collected"),
    ("training.train_model", "training", "model.trained"),
    ("serving.deploy_model", "serving", "model.deployed"),
    ("serving.undeploy_model", "serving", "model.undeployed"),
    ("serving.release", "serving", "device.released"),
    ("evaluation.answer_questions", "evaluation", "questions.answered"),
    ("evaluation.choose_model", "evaluation", "model.chosen"),
    ("evaluation.score", "evaluation", "report.written"),
}
ENDPOINT_MODEL = {"endpoint": "e", "model": "Org/Model", "budget_usd": 1}
DATASET = {"dataset": "spider-train", "weight": 0.5}
SETS: list[dict[str, Any]] = [
    {"dataset": "spider-dev", "policy": "spider"},
    {"dataset": "spider-dev", "policy": "spider", "samples": 4},
    {"dataset": "mine", "split": "test", "questions": 9},
]
SPECS: list[dict[str, Any]] = [
    {"kind": "pipeline"},
    {
        "kind": "pipeline",
        "strong": {"endpoint": "strong", "model": "m", "budget_usd": 1},
        "weak": {"endpoint": "weak", "model": "w"},
        "train": {"sft": [{}, {"synthesis": 40}], "pairs": [{"synthesis": 30}]},
    },
    {"kind": "pipeline", "weak": {"sft_first": False, "questions": 50}, "sampling": {"questions": 0}},
    {"kind": "pipeline", "rounds": 3, "strong": {"follow_errors": 0.5}},
    {"kind": "synthesis"},
    {"kind": "synthesis", "strong": {"endpoint": "strong", "model": "m"}},
    {"kind": "pairing"},
    {"kind": "pairing", "weak": {"endpoint": "weak", "model": "w", "samples": 4}},
    {"kind": "pairing", "weak": {"sft_first": False}},
    {"kind": "sft", "data": "job:abc"},
    {"kind": "dpo", "data": "job:abc", "parent": "m"},
    {"kind": "deployment", "model": "m"},
    {"kind": "evaluation", "models": ["m", "n"]},
    {"kind": "evaluation", "models": ["m", ENDPOINT_MODEL], "evaluate": [*SETS, {"dataset": "builtin:handwritten"}]},
    {"kind": "evaluation", "models": [ENDPOINT_MODEL], "evaluate": SETS},
    {"kind": "pipeline", "train": {"sft": [{}, DATASET]}, "evaluate": [{"dataset": "builtin:held-out"}, *SETS]},
    {"kind": "pipeline", "train": {"sft": [DATASET, DATASET], "pairs": [DATASET]}, "evaluate": SETS},
    {"kind": "pairing", "train": {"sft": [DATASET]}},
]
REF = ObjectRef(key="jobs/j/s/0.1.x.jsonl", sha256="0" * 64, size=1)


def plan_of(spec: dict[str, Any]) -> JobPlan:
    return compile_spec("0123456789ab", parse_spec(spec), "cpu:0")


def shard_params(stage: StagePlan) -> list[dict[str, Any]]:
    """What a shard of the stage adds to the stage's own parameters."""
    match stage.source:
        case EachShard(fields=fields):
            return [dict.fromkeys(fields, REF)]
        case FixedShards(shards=shards):
            return shards
        case Slices(stage=upstream, output=output, field=field):
            return [{field: {"stage": StageRef(stage=upstream), "output": output, "offset": 0, "limit": 5}}]
        case Waves(field=field):
            return [{field: 3}]
        case TopUp():
            return [{"final": True, "told": 0}]


def test_the_registry_is_the_designs_table() -> None:
    assert {(contract.name, contract.queue.value, contract.event) for contract in CONTRACTS.values()} == TABLE
    facts = [contract.event for contract in CONTRACTS.values()]
    assert len(facts) == len(set(facts))


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_a_contract_is_whole(contract: TaskContract) -> None:
    assert contract.name.split(".")[0] == contract.queue
    assert {"job_id", "stage", "shard", "attempt", "correlation_id"} <= set(contract.command.model_fields)
    for model in (contract.command, contract.counts):
        assert model.model_config["extra"] == "forbid"
    assert all(field.annotation is int for field in contract.counts.model_fields.values()), "counts are summed in Lua"
    assert (contract.hard_limit_s is None) == (contract.queue is Queue.TRAINING)


def test_a_contract_of_another_queue_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be named sandbox"):
        TaskContract(
            name="pairing.judge",
            queue=Queue.SANDBOX,
            command=Command,
            event="a.b",
            counts=Counts,
            outputs=(),
            hard_limit_s=1,
            max_attempts=1,
        )


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_command_is_built_from_its_plan(spec: dict[str, Any]) -> None:
    plan = plan_of(spec)
    for stage in plan.stages:
        command = CONTRACTS[stage.task].command
        own = {"job_id": "j", "stage": stage.id, "shard": 0, "attempt": 1, "correlation_id": "c"}
        for params in shard_params(stage):
            assert not set(params) & set(stage.params)
            built = command.model_validate({**own, **stage.params, **params})
            assert command.model_validate(built.model_dump(mode="json")) == built, "it travels as JSON"


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_edge_names_what_its_upstream_leaves(spec: dict[str, Any]) -> None:
    plan = plan_of(spec)

    def upstream(stage: str) -> TaskContract:
        return CONTRACTS[plan.stage(stage).task]

    for stage in plan.stages:
        match stage.source:
            case EachShard(stage=source, fields=fields):
                assert set(fields.values()) <= set(upstream(source).outputs)
                assert set(fields) <= CONTRACTS[stage.task].static_fields()
            case Slices(stage=source, output=output, count=count, field=field):
                assert output in upstream(source).outputs
                assert count in upstream(source).counts.model_fields
                assert field in CONTRACTS[stage.task].static_fields()
            case Waves(stage=target, via=via, count=count, field=field):
                assert count in upstream(target).counts.model_fields
                assert {*via, target} <= {other.id for other in plan.stages}
                assert field in CONTRACTS[stage.task].static_fields()
            case FixedShards():
                pass
        if stage.need:
            assert stage.need.count in upstream(stage.need.stage).counts.model_fields


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_plans_compile_alike_and_survive_storage(spec: dict[str, Any]) -> None:
    plan = plan_of(spec)
    assert plan == plan_of(spec)
    assert JobPlan.model_validate_json(plan.model_dump_json()) == plan


def test_every_contract_has_its_work_and_its_route() -> None:
    from services.evaluation.tasks import TASKS as EVALUATION
    from services.training.tasks import TASKS as TRAINING

    served = [*SYNTHESIS, *SANDBOX, *PAIRING, *SERVING, *TRAINING, *EVALUATION]
    assert sorted(contract.name for contract in served) == sorted(CONTRACTS)
    routes = make_app().conf.task_routes
    assert routes == {name: {"queue": contract.queue.value} for name, contract in CONTRACTS.items()}
