"""Execution accuracy while training runs: the process's side on the tiny base, the supervisor's with a real sandbox."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch

from services.training.accuracy import AccuracyScorer
from services.training.checkpoints import SEAL_FILE, link_checkpoint_files, seal
from services.training.config import TrainConfig
from services.training.run.callbacks import read_score
from services.training.scores import (
    ANSWERS,
    BEST_FOLDER,
    QUESTIONS,
    SCORE_FILE,
    SelectionQuestion,
    SelectionScore,
    score_file,
    write_file,
)
from shared.contracts.records import Message, PromptStyle
from shared.http.client import sandbox_service
from tests.support.sandbox import Sandbox, make_database, module_sandbox
from tests.unit.training.test_training import run, weights

__all__ = ["module_sandbox"]


def questions(database_id: str = "d") -> list[SelectionQuestion]:
    prompt = [Message(role="user", content="how many?")]
    golds = ["SELECT count(*) FROM customer", "SELECT name FROM customer ORDER BY id", "SELECT sum(total) FROM orders"]
    return [
        SelectionQuestion(id=f"q{number}", database_id=database_id, gold=gold, prompt=prompt)
        for number, gold in enumerate(golds)
    ]


@pytest.fixture
def scored(sft_config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """Scored after every second step; a constant rate, so that a shorter run has the same weights on its way."""
    path = tmp_path / "questions.json"
    write_file(path, QUESTIONS.dump_json(questions()))
    return sft_config.model_copy(update={"score_steps": 2, "questions": path, "schedule": "constant", "max_steps": 7})


@contextmanager
def judge(config: TrainConfig, verdicts: Mapping[int, int]) -> Iterator[list[dict[str, str]]]:
    """The supervisor's part, with verdicts that are known before: step -> right answers. Gives what was answered."""
    end, seen = threading.Event(), list[dict[str, str]]()

    def look() -> None:
        while not end.wait(0.01):
            for path in (config.out_dir / "scores").glob("[0-9]*.answers.json"):
                step = int(path.name.split(".")[0])
                if not (target := score_file(config.out_dir, step)).exists():
                    seen.append(ANSWERS.validate_json(path.read_bytes()))
                    score = SelectionScore(step=step, correct=verdicts[step], questions=3) if step in verdicts else None
                    write_file(target, score.model_dump_json().encode() if score else b"")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def test_the_best_weights_are_kept_and_scoring_moves_nothing(scored: TrainConfig, tmp_path: Path) -> None:
    with judge(scored, {2: 1, 4: 3, 6: 2, 7: 2}) as seen:
        lines = run(scored)
    assert [line.get("execution_accuracy") for line in lines] == [None, 0.3333, None, 1.0, None, 0.6667, 0.6667]
    assert all(set(texts) == {"q0", "q1", "q2"} for texts in seen)
    facts = json.loads((scored.artefact_dir / "train.json").read_text())
    assert facts["kept_step"] == 4
    assert [(one["step"], one["correct"]) for one in facts["scores"]] == [(2, 1), (4, 3), (6, 2), (7, 2)]
    assert "3/3 at step 4" in (scored.artefact_dir / "README.md").read_text()
    plain = {"score_steps": None, "questions": None}
    unscored = run(scored.model_copy(update={**plain, "out_dir": tmp_path / "plain"}))
    assert [line["loss"] for line in lines] == [line["loss"] for line in unscored]
    four = scored.model_copy(update={**plain, "max_steps": 4, "out_dir": tmp_path / "four"})
    run(four)
    kept, expected = weights(scored.artefact_dir), weights(four.artefact_dir)
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_a_tie_goes_to_the_later_step_and_a_missing_score_is_not_chosen(scored: TrainConfig) -> None:
    with judge(scored, {2: 2, 4: 2}):
        lines = run(scored)
    assert [line["step"] for line in lines if "execution_accuracy" in line] == [2, 4]
    assert json.loads((scored.artefact_dir / "train.json").read_text())["kept_step"] == 4


def test_whole_models_are_kept_too(scored: TrainConfig, tmp_path: Path) -> None:
    full = scored.model_copy(update={"mode": "full", "learning_rate": 1e-3, "max_steps": 4})
    with judge(full, {2: 3, 4: 1}):
        run(full)
    two = {"score_steps": None, "questions": None, "max_steps": 2, "out_dir": tmp_path / "two"}
    run(short := full.model_copy(update=two))
    kept, expected = (whole(config.artefact_dir) for config in (full, short))
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def whole(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_resumed_run_remembers_the_best(scored: TrainConfig) -> None:
    """The kept weights travel with the checkpoint, and what came before the kill still wins."""
    first = scored.model_copy(update={"max_steps": 5, "save_steps": 5})
    with judge(scored, {2: 3, 4: 1, 5: 1}):
        run(first)
    names = set(link_checkpoint_files(first, 5, first.out_dir / "pinned"))
    assert {
        f"{BEST_FOLDER}/{SCORE_FILE}",
        f"{BEST_FOLDER}/adapter_model.safetensors",
        f"checkpoint-5/{SEAL_FILE}",
    } <= names
    assert read_score(first.out_dir / BEST_FOLDER / SCORE_FILE) == SelectionScore(step=2, correct=3, questions=3)
    seal(first.out_dir / "checkpoint-5")
    with judge(scored, {6: 2, 7: 2}):
        lines = run(scored)
    assert [line["step"] for line in lines] == list(range(1, 8))
    facts = json.loads((scored.artefact_dir / "train.json").read_text())
    assert facts["kept_step"] == 2
    assert [one["step"] for one in facts["scores"]] == [2, 4, 5, 6, 7]


def test_several_processes_are_not_scored(scored: TrainConfig) -> None:
    with pytest.raises(ValueError, match="score_steps needs a training in one process"):
        TrainConfig.model_validate(scored.model_dump() | {"launch": "ddp", "processes": 2})


@pytest.fixture
def supervisor(
    module_sandbox: Sandbox, scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AccuracyScorer:
    monkeypatch.setenv("SENSE_SANDBOX_URL", module_sandbox.url)
    taken = httpx.post(f"{module_sandbox.url}/databases", content=make_database(tmp_path / "shop.sqlite"))
    return AccuracyScorer(scored, questions(taken.json()["id"]), PromptStyle())


def test_answers_count_by_what_they_return(supervisor: AccuracyScorer) -> None:
    """Another text with the same rows is right; an order that was asked for counts; an error and prose are wrong."""
    right = {"q0": "```sql\nSELECT count(id) FROM customer\n```", "q1": "SELECT name FROM customer ORDER BY name"}
    assert supervisor.score(4, right) == SelectionScore(step=4, correct=2, questions=3)
    turned = {
        "q1": "SELECT name FROM customer ORDER BY 1 DESC",
        "q0": "SELECT nothing FROM customer",
        "q2": "Sorry.",
    }
    assert supervisor.score(5, turned) == SelectionScore(step=5, correct=0, questions=3)


def test_the_supervisor_answers_files_and_ends_when_told(supervisor: AccuracyScorer) -> None:
    supervisor.start()
    texts = {"q2": "SELECT 35.75"}
    out_dir = supervisor.config.out_dir
    write_file(out_dir / "scores" / "4.answers.json", ANSWERS.dump_json(texts))
    assert wait_for(score_file(out_dir, 4)) == SelectionScore(step=4, correct=1, questions=3)
    supervisor.close()
    write_file(out_dir / "scores" / "6.answers.json", ANSWERS.dump_json(texts))
    time.sleep(0.3)
    assert not score_file(out_dir, 6).exists()


def test_without_a_sandbox_the_training_hears_that_it_is_not_known(
    supervisor: AccuracyScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.training.accuracy.SCORE_TIMEOUT_S", 0.2)
    monkeypatch.setattr("services.training.accuracy.RETRY_S", 0.1)
    supervisor.sandbox = sandbox_service("http://127.0.0.1:9")
    supervisor.start()
    write_file(supervisor.config.out_dir / "scores" / "4.answers.json", ANSWERS.dump_json({"q0": "SELECT 1"}))
    assert wait_for(score_file(supervisor.config.out_dir, 4)) is None
    supervisor.close()


def wait_for(path: Path) -> SelectionScore | None:
    ends = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < ends
        time.sleep(0.02)
    return read_score(path)
