"""The whole of the product at once: real queues, real sandbox, real small model; and the faces that people use."""

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from services.cli.stack.config import FLOWER_USER
from shared.api.resources import Job
from shared.contracts.base import Queue
from shared.contracts.records import DpoRecord, Example, JudgedCandidate, Pair, SftRecord, Verdict
from shared.models.manifest import ModelManifest, read_manifest
from tests.support.stack import Stack, json_lines, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.model, pytest.mark.timeout(1200)]
HELD_OUT, HANDWRITTEN, SELECTION = 8, 4, 2
SPEC: dict[str, Any] = {
    "kind": "pipeline",
    "name": "end to end",
    "train": {"sft": [{"synthesis": 48, "per_shard": 12}]},
    "prompt": {"sample_rows": 0},
    "weak": {"endpoint": "weak", "model": "w", "samples": 4},
    "sft": {"preset": "cpu-smoke", "max_steps": 3, "score_steps": 2, "score_questions": 2},
    "dpo": {"preset": "cpu-smoke", "max_steps": 2},
    "pairs": {"minimum": 4},
    "selection": {"questions": SELECTION},
    "sampling": {"questions": 4, "samples": 2},
    "answer_tokens": 24,
    "evaluate": [
        {"dataset": "builtin:held-out", "questions": HELD_OUT},
        {"dataset": "builtin:handwritten", "questions": HANDWRITTEN},
    ],
}
GREEDY_ARMS = ["base", "base-shots", "sft", "control", "dpo"]
SAMPLED_ARMS = ["sft.sampled", "dpo.sampled"]


@pytest.fixture(scope="module")
def job(stack: Stack) -> Job:
    """The one pipeline that all tests of this file look at."""
    return stack.succeed(SPEC, limit_s=1000)


@pytest.fixture(scope="module")
def report(stack: Stack, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.objects.get(f"reports/{job.id}/report.json"))
    return found


def test_every_stage_has_run_and_none_was_skipped(job: Job) -> None:
    assert {stage.id: stage.status for stage in job.stages} == {stage.id: "done" for stage in job.stages}
    assert {"sft", "dpo", "control", "deploy.dpo", "answer.dpo.sampled", "report"} <= {stage.id for stage in job.stages}


def test_the_training_was_scored_while_it_ran_by_the_sandbox(stack: Stack, job: Job) -> None:
    """After two steps of three and after the last; the other trainings did not ask for it."""
    lines = json_lines(stack.objects.get(manifest_of(stack, job, "sft").files["metrics.jsonl"].key))
    assert [line["step"] for line in lines if "execution_accuracy" in line] == [2, 3]
    assert all(line["questions"] == 2 for line in lines if "execution_accuracy" in line)
    assert [one["step"] for one in manifest_of(stack, job, "sft").facts["scores"]] == [2, 3]
    assert manifest_of(stack, job, "dpo").facts["scores"] == []


def test_pairs_have_a_right_and_another_side(stack: Stack, job: Job) -> None:
    rows = [
        DpoRecord.model_validate(row) for row in json_lines(stack.export(job.id, "collect.preferences", "dpo.jsonl"))
    ]
    pairs = stack.outputs(job.id, "collect.preferences", "pairs", Pair)
    judged = {
        (row.candidate.example_id, row.candidate.slot): row
        for row in stack.outputs(job.id, "judge", "judged", JudgedCandidate)
    }
    assert len(rows) == len(pairs) >= 4
    for row, pair in zip(rows, pairs, strict=True):
        chosen = judged[row.example_id, pair.chosen_slot]
        rejected = judged[row.example_id, pair.rejected_slot]
        assert (chosen.verdict, chosen.candidate.sql) == (Verdict.CORRECT, row.chosen[0].content)
        assert rejected.verdict in (Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT) and rejected.verdict == (
            row.verdict_rejected
        )
        assert row.chosen[0].content != row.rejected[0].content == rejected.candidate.sql
        assert stack.objects.exists(chosen.candidate.answer_key)


def test_no_test_question_is_trained_on(stack: Stack, job: Job) -> None:
    rows = [SftRecord.model_validate(row) for row in json_lines(stack.export(job.id, "collect.train", "sft.jsonl"))]
    tests = stack.outputs(job.id, "collect.test", "examples", Example)
    assert len(rows) == 48 and len(tests) == HELD_OUT + HANDWRITTEN
    assert not {row.database_id for row in rows} & {test.database_id for test in tests}
    for name in ("sft.jsonl", "examples.jsonl", "selection.jsonl"):
        text = stack.export(job.id, "collect.train", name).decode()
        assert not [test.question for test in tests if json.dumps(test.question, ensure_ascii=False)[1:-1] in text]


def test_models_are_published_with_their_manifest_last(stack: Stack, job: Job) -> None:
    data = {"sft": ("collect.train", "sft"), "dpo": ("collect.preferences", "dpo")}
    data["control"] = ("collect.preferences", "chosen")
    parent = manifest_of(stack, job, "sft")
    for stage, (source, output) in data.items():
        manifest = manifest_of(stack, job, stage)
        folder = stack.objects.root / "models" / manifest.name
        times = {name: (folder / name).stat().st_mtime_ns for name in manifest.files}
        assert (folder / "manifest.json").stat().st_mtime_ns >= max(times.values())
        assert "adapter_model.safetensors" in times
        assert manifest.data == stack.jobs.outputs(job.id, source, output)[0]
        assert manifest.parent == (None if stage == "sft" else parent.name)
    weights = {manifest_of(stack, job, stage).files["adapter_model.safetensors"].sha256 for stage in data}
    assert len(weights) == 3


def manifest_of(stack: Stack, job: Job, stage: str) -> ModelManifest:
    ref = stack.jobs.outputs(job.id, stage, "manifest")[0]
    manifest = ModelManifest.model_validate_json(stack.objects.get(ref.key))
    assert manifest == read_manifest(stack.objects, manifest.name)
    return manifest


def test_report_holds_every_arm_on_every_question(report: dict[str, Any]) -> None:
    sets = {one["name"]: one["questions"] for one in report["sets"]}
    assert sets == {"held-out": HELD_OUT, "handwritten": HANDWRITTEN}
    asked = {(one["arm"]["id"], one["set_name"]): (one["questions"], one["rows"]) for one in report["scores"]}
    for arm in GREEDY_ARMS:
        for name, count in sets.items():
            assert asked[arm, name] == (count, count), (arm, name)
    for arm in SAMPLED_ARMS:
        mine = [counts for (name, _), counts in asked.items() if name == arm]
        assert (sum(c[0] for c in mine), sum(c[1] for c in mine)) == (4, 8)
    assert {arm for arm, _ in asked} == {*GREEDY_ARMS, *SAMPLED_ARMS}
    assert {one["stage_id"]: one["steps"] for one in report["training"]} == {"sft": 3, "dpo": 2, "control": 2}
    assert {one["questions"] for one in report["promotion"]["scores"]} == {SELECTION}


def test_report_comes_in_four_forms(stack: Stack, job: Job, report: dict[str, Any]) -> None:
    titles = {one["arm"]["title"] for one in report["scores"]}
    for suffix in ("md", "html", "txt"):
        text = stack.objects.get(f"reports/{job.id}/report.{suffix}").decode()
        assert [title for title in titles if title not in text] == [], suffix


def test_a_score_leads_back_to_everything_it_came_from(stack: Stack, job: Job) -> None:
    lines = json_lines(stack.objects.get(f"reports/{job.id}/report.questions.jsonl"))
    tests = {row.example_id: row for row in stack.outputs(job.id, "collect.test", "examples", Example)}
    tested = [line for line in lines if line["set"] != "selection"]
    assert {line["example_id"] for line in tested} == set(tests)
    names = {manifest_of(stack, job, stage).name for stage in ("sft", "dpo", "control")}
    for line in tested:
        example = tests[line["example_id"]]
        assert (example.database_id, example.gold) == (line["db_id"], line["gold"])
        assert stack.objects.exists(f"databases/{line['db_id']}.sqlite")
        assert stack.objects.exists(f"databases/{line['db_id']}.json")
        assert set(GREEDY_ARMS) <= set(line["arms"])
    for arm in GREEDY_ARMS:
        rows = {
            row.candidate.example_id: row for row in stack.outputs(job.id, f"judge.{arm}", "judged", JudgedCandidate)
        }
        assert rows.keys() == tests.keys()
        for line in tested:
            row = rows[line["example_id"]]
            assert [(one["sql"], one["verdict"]) for one in line["arms"][arm]] == [(row.candidate.sql, row.verdict)]
            assert row.candidate.model in names | {"smollm2-135m"}
            assert stack.objects.exists(row.candidate.answer_key)


def test_the_job_is_archived(stack: Stack, job: Job) -> None:
    wait_until(lambda: stack.objects.exists(f"jobs/{job.id}/job.json"), "the archive", limit_s=30)
    record = json.loads(stack.objects.get(f"jobs/{job.id}/job.json"))
    rows = json_lines(stack.objects.get(f"jobs/{job.id}/rows.jsonl"))
    facts = json_lines(stack.objects.get(f"jobs/{job.id}/events.jsonl"))
    assert (record["job"]["id"], record["job"]["status"]) == (job.id, "succeeded")
    assert len(rows) == sum(stage.total for stage in job.stages)
    assert [fact["name"] for fact in facts if fact["name"].startswith("job.")][-1] == "job.succeeded"
    assert sum(fact["name"] == "model.trained" for fact in facts) == 3


def test_flower_lists_the_six_workers(stack: Stack) -> None:
    def listed() -> set[str]:
        who = base64.b64encode(f"{FLOWER_USER}:{stack.file.flower_password}".encode()).decode()
        asked = urllib.request.Request(
            f"{stack.file.flower_url}/workers?json=1", headers={"Authorization": f"Basic {who}"}
        )
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return {row["hostname"].partition("@")[0] for row in json.load(answer)["data"] if row["status"]}

    wait_until(lambda: listed() == {queue.value for queue in Queue}, "the six workers in Flower", limit_s=30)


def test_the_command_line_shows_the_job(stack: Stack, job: Job, tmp_path: Path) -> None:
    shown = stack.sense("job", job.id, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["status"] == "succeeded"
    listed = stack.sense("artifacts", job.id)
    assert listed.returncode == 0 and "report.html" in listed.stdout and "collect.preferences/dpo" in listed.stdout
    saved = stack.sense("artifacts", job.id, "collect.train/sft", "--download", tmp_path)
    assert saved.returncode == 0, saved.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [stack.export(job.id, "collect.train", "sft.jsonl")]


def test_the_command_line_asks_the_trained_model(stack: Stack, job: Job, tmp_path: Path) -> None:
    test = stack.outputs(job.id, "collect.test", "examples", Example)[0]
    model = manifest_of(stack, job, "dpo").name
    assert model in stack.client.models()
    stack.objects.get_file(f"databases/{test.database_id}.sqlite", tmp_path / "db.sqlite")
    words = ("ask", "--db", tmp_path / "db.sqlite", "--model", model, "--json", test.question)
    asked = stack.sense(*words)
    answer = json.loads(asked.stdout)
    assert (answer["model"], bool(answer["samples"][0]["answer"])) == (model, True)
    assert answer["rows"] == 0  # as in its training prompts
    assert answer["database_id"] == test.database_id
    right = answer["result"] is not None and answer["result"]["outcome"] in ("ok", "empty")
    assert asked.returncode == (0 if right else 1)


def test_early_shards_are_sampled_while_later_ones_are_written(stack: Stack) -> None:
    spec = {
        "kind": "pairing",
        "name": "overlap",
        "train": {"sft": [{"synthesis": 32, "per_shard": 4}]},
        "strong": {"endpoint": "strong", "model": "s"},
        "weak": {"endpoint": "weak", "model": "w", "samples": 4},
    }
    job = stack.succeed(spec, limit_s=120)
    written = list(stack.jobs.shards(job.id, "write.train"))[:8]
    sampled = list(stack.jobs.shards(job.id, "sample"))
    assert len(written) == 8
    last_written = max(row.finished_at or 0.0 for row in written)
    assert min(row.started_at or last_written for row in sampled) < last_written
    assert sum(row.counts["questions"] for row in sampled) >= 32
