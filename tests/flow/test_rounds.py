"""Two waves and three rounds through the whole plan: real queues of work, sandbox, pairing and report.

Training and serving are stood in for (their own tests run the real ones): a training here publishes a model without
weights, and the engine is a server that knows how often each model is right.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.evaluation.tasks import TASKS as EVALUATION
from services.training.tasks import make_manifest, prompt_version_of
from shared.contracts.base import ObjectRef
from shared.contracts.evaluation import ArmPlan
from shared.contracts.records import Candidate, Example, Pair, RoundScore, Wish
from shared.contracts.serving import DEPLOY_MODEL, RELEASE, DeployedCounts, DeployModel, Release, ReleasedCounts
from shared.contracts.training import TRAIN_MODEL, TrainedCounts, TrainModel
from shared.models.manifest import ModelManifest, chosen_model, publish_model
from shared.sql.features import sql_features
from shared.storage.records import read_records
from shared.tasks.task import Shard, TaskResult
from tests.flow import harness
from tests.flow.conftest import StartStack
from tests.flow.harness import Stack
from tests.support.openai_server import OpenAiServer, Request
from tests.support.stack import Golds
from tests.support.writers import asked_question

StartServer = Callable[..., OpenAiServer]
Skills = dict[str, float]
SPEC: dict[str, Any] = {
    "kind": "pipeline",
    "train": {"sft": [{"synthesis": 32, "per_shard": 16}]},
    "strong": {"follow_errors": 0.5, "follow_questions": 32},
    "prompt": {"sample_rows": 0},
    "weak": {"samples": 4},
    "pairs": {"minimum": 3, "suite_databases": 0},
    "selection": {"questions": 20},
    "sampling": {"questions": 0},
    "rounds": 3,
    "evaluate": [{"dataset": "builtin:held-out", "questions": 6}],
}


def train(command: TrainModel, shard: Shard) -> TaskResult:
    """A model without weights, with the parent that the real task would take."""
    if command.parent_from is not None:
        command = command.model_copy(update={"parent": chosen_model(shard, command.parent_from, command.parent or "")})
    (data,) = shard.refs(command.data, command.output)
    rows = len(shard.objects.get(data.key).splitlines())
    folder = Path(shard.objects.root) / "empty"  # type: ignore[attr-defined]
    outputs = {
        "manifest": publish_model(shard.objects, folder, make_manifest(command, data, {}, prompt_version_of(command))),
        "metrics": shard.write_text("metrics", json.dumps({"step": 1, "loss": 0.5}) + "\n", "jsonl"),
    }
    return TaskResult(TrainedCounts(rows=rows, steps=1), outputs)


def deploy(command: DeployModel, shard: Shard) -> TaskResult:
    """Nothing: the server knows all models."""
    assert chosen_model(shard, command.model_from, command.model)
    return TaskResult(DeployedCounts(deployed=1))


def release(command: Release, shard: Shard) -> TaskResult:
    """Nothing."""
    return TaskResult(ReleasedCounts(released=0))


def engine_of(golds: Golds, skills: Skills) -> Callable[[Request], list[str]]:
    """Each model right as often as its stage's skill says, by question, model and slot; wrong in its own way else."""

    def answer(request: Request) -> list[str]:
        stage = request["model"].rsplit("-", 1)[-1]
        question = asked_question(request)
        texts = []
        for slot in range(request.get("n") or 1):
            rng = random.Random(f"{stage}/{question}/{slot}/{request.get('seed')}/{request['temperature']}")
            right = rng.random() < skills.get(stage, 0.3) - 0.25 * ("GROUP" in golds[question])
            wrong = f"SELECT {rng.randrange(10_000)}, '{'x' * len(golds[question])}'"
            texts.append(golds[question] if right else wrong)
        return texts

    return answer


@pytest.fixture
def run(
    start_stack: StartStack, openai_server: StartServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Stack, str]]:
    """A job whose models have these skills, worked on in an order by `seed`."""
    others = {TRAIN_MODEL: train, DEPLOY_MODEL: deploy, RELEASE: release}
    for contract, work in {**EVALUATION, **others}.items():
        monkeypatch.setitem(harness.WORK, contract.name, work)

    def start(skills: Skills, seed: int | None = None, objects: str = "objects", **changes: Any) -> tuple[Stack, str]:
        stack = start_stack(seed, objects)
        job = stack.submit(SPEC | changes)
        names = [f"smollm2-135m-{job[:8]}-{stage}" for stage in ("sft.weak", "sft", "control", *ROUNDS)]
        answer = engine_of(Golds(tmp_path / objects), skills)
        server = openai_server(answer, models=["smollm2-135m", *names])
        monkeypatch.setenv("SENSE_ENDPOINT_ENGINE_BASE_URL", server.base_url)
        record = stack.run(job)
        assert record.status == "succeeded", record.error
        return stack, job

    return start


ROUNDS = ("dpo", "dpo.r2", "dpo.r3")
BETTER: Skills = {"sft": 0.3, "dpo": 0.75, "dpo.r2": 1.1, "dpo.r3": 0.5}
WORSE: Skills = {"sft": 0.6, "dpo": 0.3, "dpo.r2": 0.95, "dpo.r3": 0.4}


def choice(stack: Stack, job: str, number: int) -> dict[str, RoundScore]:
    lines = stack.output(job, f"choose.r{number}", "choice").splitlines()
    return {line.arm_id: line for line in map(RoundScore.model_validate_json, lines)}


def rows_of(stack: Stack, job: str, stage: str, output: str, model: Any) -> list[Any]:
    refs: list[ObjectRef] = stack.jobs.outputs(job, stage, output)
    return [row for ref in refs for row in read_records(stack.objects, ref, model)]


def parent_of(stack: Stack, job: str, stage: str) -> str:
    found = ModelManifest.model_validate_json(stack.output(job, stage, "manifest")).parent
    return (found or "").rsplit("-", 1)[-1]


def sampled(stack: Stack, job: str, stage: str) -> set[str]:
    return {row.model.rsplit("-", 1)[-1] for row in rows_of(stack, job, stage, "candidates", Candidate)}


def report_of(stack: Stack, job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.output(job, "report", "report"))
    return found


def made(stack: Stack, job: str) -> list[Any]:
    """What must not depend on the order of work: names of models hold the job and are left out."""
    pairs = [
        (pair.example_id, pair.chosen, pair.rejected)
        for stage in ("collect.preferences", "collect.preferences.r2", "collect.preferences.r3")
        for pair in rows_of(stack, job, stage, "pairs", Pair)
    ]
    lines = [(name, line.correct, line.kept) for name, line in choice(stack, job, 3).items()]
    return [stack.output(job, "collect.train", "sft"), pairs, lines]


def test_two_waves_and_three_rounds(run: Callable[..., tuple[Stack, str]]) -> None:
    stack, job = run(BETTER)
    check_wave(stack, job)
    check_rounds(stack, job)
    first = made(stack, job)
    assert made(*run(BETTER, seed=2, objects="other")) == first, "in another order of work"


def check_wave(stack: Stack, job: str) -> None:
    """It follows what failed."""
    wishes = {wish.name: wish.weight for wish in rows_of(stack, job, "profile.errors", "wishes", Wish)}
    assert wishes["group"] > 0, "the models are worse where the gold groups"
    first, wave = (
        [sql_features(one.gold).used for one in rows_of(stack, job, stage, "examples", Example)]
        for stage in ("verify.train", "verify.errors")
    )
    assert (len(first), len(wave)) == (32, 16)
    assert sum("group" in used for used in wave) / 16 > sum("group" in used for used in first) / 32
    counts = stack.counts(job, "write.errors")
    assert 0 < counts["followed"] <= counts["written"] == 16
    collected = rows_of(stack, job, "collect.train", "examples", Example)
    assert len(collected) == stack.counts(job, "collect.train")["examples"] > 40, "both waves, but for repetitions"
    told = report_of(stack, job)["wave"]
    assert (told["written"], told["followed"]) == (16, counts["followed"])


def check_rounds(stack: Stack, job: str) -> None:
    """Each begins from the best before it."""
    kept = {name: line.kept for name, line in choice(stack, job, 3).items()}
    assert kept == {"sft": True, "dpo": True, "dpo.r2": True, "dpo.r3": False}
    assert [sampled(stack, job, stage) for stage in ("sample", "sample.r2", "sample.r3")] == [
        {"sft"},
        {"dpo"},
        {"dpo.r2"},
    ]
    assert [parent_of(stack, job, stage) for stage in ROUNDS] == ["sft", "dpo", "dpo.r2"]
    report = report_of(stack, job)
    assert report["promotion"]["arm_id"] == "dpo.r2"
    tested = {one["arm"]["id"]: one["arm"]["title"] for one in report["scores"]}
    assert tested == {
        "base": "Base, no examples shown",
        "base-shots": "Base, two examples shown",
        "sft": "SFT",
        "control": "SFT + chosen (control)",
        "dpo": "DPO",
        "dpo.r2": "DPO, round 2",
    }, "only what is promoted of the later rounds sees test questions"
    assert [(one["number"], one["kept"], one["best"]) for one in report["rounds"]] == [
        (1, True, False),
        (2, True, True),
        (3, False, False),
    ]
    for suffix in ("markdown", "html"):
        text = stack.output(job, "report", suffix).decode()
        assert "Rounds of preference training" in text and "The second wave" in text
    assert ArmPlan.model_validate(stack.jobs.plan(job).stage("choose.r3").params["arms"][2]).id == "dpo.r2.selection"  # type: ignore[union-attr]


def test_a_round_that_is_not_kept_changes_the_seed_alone(run: Callable[..., tuple[Stack, str]]) -> None:
    stack, job = run(WORSE)
    kept = {name: line.kept for name, line in choice(stack, job, 3).items()}
    assert kept == {"sft": True, "dpo": False, "dpo.r2": True, "dpo.r3": False}
    assert sampled(stack, job, "sample.r2") == {"sft"} and parent_of(stack, job, "dpo.r2") == "sft"
    first, second = (
        [row.answer for row in rows_of(stack, job, stage, "candidates", Candidate)] for stage in ("sample", "sample.r2")
    )
    assert first != second, "the same model is asked anew"
    assert parent_of(stack, job, "dpo.r3") == "dpo.r2"


def test_too_few_pairs_skip_a_round_and_the_report_says_so(run: Callable[..., tuple[Stack, str]]) -> None:
    stack, job = run({"sft": 0.5, "dpo": 2.0}, rounds=2)
    assert stack.counts(job, "collect.preferences.r2")["pairs"] == 0, "a model that is always right gives none"
    assert "dpo.r2" not in {stage for stage, _, _ in stack.names(job)}
    report = report_of(stack, job)
    assert [one["selection_questions"] > 0 for one in report["rounds"]] == [True, False]
    assert report["promotion"]["arm_id"] == "dpo"
    told = stack.output(job, "report", "terminal").decode()
    assert "round 2 skipped: 0 pairs, 3 are needed" in " ".join(told.split())
