"""`sense experiment factorial`: which jobs, what counts as shown, and the whole command against a real gateway."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.benchmarks.factorial import cell_scores, contrasts, plan_jobs, read_experiment, read_scores
from services.cli import experiment_commands
from services.gateway.backend import Backend
from shared.contracts.spec import SpecError
from tests.support.gateway import PLAN, Driver
from tests.unit.cli.conftest import Sense, backend, engine, module_redis_url, sense, stack

__all__ = ["backend", "engine", "module_redis_url", "sense", "stack"]

SPEC: dict[str, Any] = {
    "name": "small",
    "human": [{"dataset": "people"}],
    "strong": [{"synthesis": 40}],
    "seeds": [1, 2, 3, 4, 5],
    "pipeline": {"sft": {"preset": "cpu-smoke"}, "evaluate": [{"dataset": "builtin:held-out", "questions": 8}]},
}
Truth = Callable[[str, str, int, int], float]


def lines(mix: str, seed: int, truth: Truth, arms: tuple[str, ...] = ("sft", "control", "dpo")) -> list[dict[str, Any]]:
    """A report's rows: 8 databases of 12 questions; `truth` gives an arm's chance of being right."""
    found = []
    for number in range(96):
        database = number // 12
        answers = {
            arm: [{"ex": int(random.Random(f"{mix}{seed}{number}{arm}").random() < truth(mix, arm, database, seed))}]
            for arm in arms
        }
        line = {"set": "held-out", "example_id": str(number), "db_id": f"d{database}", "scored": number % 13 != 12}
        found.append(line | {"arms": answers})
    return found


def scores(truth: Truth, seeds: int) -> dict[Any, dict[int, Any]]:
    found: dict[Any, dict[int, Any]] = {}
    for mix in ("human", "human+strong"):
        for seed in range(seeds):
            for arm, rows in read_scores(lines(mix, seed, truth)).items():
                found.setdefault((mix, arm), {})[seed] = rows
    return found


def flat(mix: str, arm: str, database: int, seed: int) -> float:
    """Every cell alike but for hard and easy databases."""
    return 0.2 + 0.08 * database


def better(mix: str, arm: str, database: int, seed: int) -> float:
    """Strong data and DPO help."""
    return 0.1 + 0.04 * database + 0.2 * (mix != "human") + 0.3 * (arm == "dpo")


def test_two_jobs_a_seed_differ_in_their_diet_alone() -> None:
    jobs = list(plan_jobs(read_experiment(SPEC)))
    assert [(one.mix, one.seed) for one in jobs[:3]] == [("human", 1), ("human+strong", 1), ("human", 2)]
    assert len(jobs) == len({one.key for one in jobs}) == 10
    first, second = jobs[0].spec, jobs[1].spec
    assert [len(spec["train"]["sft"]) for spec in (first, second)] == [1, 2]
    assert first["train"]["pairs"] == second["train"]["pairs"] == first["train"]["sft"]
    rest = [{name: value for name, value in spec.items() if name not in ("train", "name")} for spec in (first, second)]
    assert rest[0] == rest[1]
    assert rest[0]["seed"] == 1 and rest[0]["sft"] == {"preset": "cpu-smoke"}
    assert [one.key for one in plan_jobs(read_experiment(SPEC))] == [one.key for one in jobs]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"human": []}, "human"),
        ({"seeds": [1, 1]}, "twice"),
        ({"pipeline": {"seed": 3}}, "leave it out"),
        ({"pipeline": {"dpo": {"beta": -1}}}, "beta"),
        ({"odd": 1}, "odd"),
    ],
)
def test_a_wrong_experiment_is_told_before_anything_runs(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        list(plan_jobs(read_experiment(SPEC | change)))


def test_a_real_effect_over_five_seeds_is_credited() -> None:
    found = {one.name: one for one in contrasts(scores(better, 5))}
    assert len(found) == 3
    for one in found.values():
        assert one.verdict == "an improvement"
        assert one.low is not None and 0 < one.low < one.mean
        assert (one.seeds, one.questions, one.databases, len(one.by_seed)) == (5, 89, 8, 5)


def test_chance_is_no_effect_and_says_what_it_could_have_seen() -> None:
    for one in contrasts(scores(flat, 5)):
        assert one.verdict.startswith("no effect shown at this size; the smallest effect it could have seen: ")
        assert one.smallest_effect is not None and 0 < one.smallest_effect < 0.3


def test_four_seeds_are_never_enough() -> None:
    for one in contrasts(scores(better, 4)):
        assert one.verdict.startswith("no effect shown at this size (4 of the 5 seeds that credit needs)")


def test_harm_is_called_harm() -> None:
    found = contrasts(scores(lambda mix, arm, database, seed: 0.7 - 0.4 * (arm == "dpo"), 5))
    assert [one.verdict for one in found if one.decides] == ["harm", "harm"]


def test_a_job_without_preference_training_leaves_its_cells_empty() -> None:
    only = {("human", "sft"): {1: read_scores(lines("human", 1, flat, ("sft",)))["sft"]}}
    assert contrasts(only) == []
    accuracies = {one.cell: one.accuracy for one in cell_scores(only)}
    assert accuracies["human"] == pytest.approx(0.48, abs=0.15)
    assert accuracies["+ weak"] is None


@contextmanager
def working(backend: Backend, truth: Truth, failing: int | None = None) -> Iterator[None]:
    """Ends every job that comes, with a report by `truth`; the job of seed `failing` fails."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            for job_id in backend.jobs.active():
                driver = Driver.__new__(Driver)
                driver.backend, driver.jobs, driver.id = backend, backend.jobs, job_id
                spec = backend.jobs.job(job_id).spec
                backend.jobs.set_plan(job_id, PLAN)
                mix = "human" if len(spec["train"]["sft"]) == 1 else "human+strong"
                driver.add("report", 0)
                text = "".join(json.dumps(line) + "\n" for line in lines(mix, spec["seed"], truth))
                driver.finish("report", 0, {"questions.jsonl": text.encode()})
                driver.end("failed" if spec["seed"] == failing else "succeeded")
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_the_command_submits_waits_and_tells(
    sense: Sense, stack: str, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_commands, "POLL_S", 0.02)
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(SPEC | {"human": [{"synthesis": 20}]}))
    assert len(json.loads(sense("experiment", "factorial", path, "--dry-run").out)) == 10
    assert backend.jobs.job_ids() == []
    with working(backend, better):
        ended = sense("experiment", "factorial", path)
        assert ended.code == 0, ended.err
        again = sense("experiment", "factorial", path, "--json")
    assert len(backend.jobs.job_ids()) == 10
    assert "held-out: DPO over its control, human data: +" in ended.out
    assert ended.out.count("5 seeds") == 3 and ended.out.count("an improvement") == 3
    told = json.loads(again.out)
    assert {one["verdict"] for one in told["contrasts"]} == {"an improvement"}
    assert len(told["jobs"]) == 10


def test_a_failed_job_is_told_and_its_seed_does_not_count(
    sense: Sense, stack: str, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_commands, "POLL_S", 0.02)
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(SPEC | {"human": [{"synthesis": 20}], "name": "failing"}))
    with working(backend, better, failing=3):
        ended = sense("experiment", "factorial", path)
    assert ended.code == 1
    assert "seed 3: failed" in ended.out
    assert ended.out.count("4 of the 5 seeds") == 3


def test_where_all_jobs_fail_nothing_is_said_about_them(
    sense: Sense, stack: str, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_commands, "POLL_S", 0.02)
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(SPEC | {"human": [{"synthesis": 20}], "name": "all failing", "seeds": [3]}))
    with working(backend, better, failing=3):
        ended = sense("experiment", "factorial", path)
    assert ended.code == 1
    assert "No job succeeded" in ended.out and "DPO" not in ended.out
