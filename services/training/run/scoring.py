"""Every so many steps the policy's answers are run in the sandbox; the weights that were right most often are kept."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from services.training.config import TrainConfig
from services.training.run.answering import Answerer
from services.training.run.artefact import save_model
from services.training.run.stopping import StopFlag
from services.training.scores import ANSWERS, BEST, QUESTIONS, SCORE, Score, answers_file, score_file, write_whole

LOOK_S = 0.05
PATIENCE_S = 600.0


class ScoreAnswers(TrainerCallback):
    """Scores after every `score_steps` steps and after the last one; `latest` is the score of the step that ends.

    A step whose score does not come (no sandbox for `PATIENCE_S`) is not chosen; the training goes on.
    """

    def __init__(self, config: TrainConfig, tokenizer: Any, flag: StopFlag, *, bf16: bool) -> None:
        assert config.questions is not None and config.score_steps is not None
        questions = QUESTIONS.validate_json(config.questions.read_bytes())
        self.config, self.flag, self.every = config, flag, config.score_steps
        self.answerer = Answerer(tokenizer, questions, bf16=bf16)
        self.best = read_score(config.out_dir / BEST / SCORE)
        self.latest: Score | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks, waits for the verdicts, keeps the weights where they are the best so far."""
        self.latest = None
        step = state.global_step
        if (step % self.every and step != state.max_steps) or self.flag.is_set:
            return
        texts, out_dir = self.answerer.answers(kwargs["model"]), self.config.out_dir
        answers_file(out_dir, step).unlink(missing_ok=True)  # of a run before, in the same folder
        score_file(out_dir, step).unlink(missing_ok=True)
        write_whole(answers_file(out_dir, step), ANSWERS.dump_json(texts))
        self.latest = self._wait(step)
        if self.latest is not None and self.latest.beats(self.best):
            self.best = self.latest
            keep(self.config, kwargs["model"], self.best)

    def _wait(self, step: int) -> Score | None:
        path, ends = score_file(self.config.out_dir, step), time.monotonic() + PATIENCE_S
        while not path.exists() and not self.flag.is_set and time.monotonic() < ends:
            time.sleep(LOOK_S)
        return read_score(path)


def keep(config: TrainConfig, model: Any, score: Score) -> None:
    """The weights and their score in `best`, in the place of the ones before."""
    folder, fresh = config.out_dir / BEST, config.out_dir / f"{BEST}.writing"
    shutil.rmtree(fresh, ignore_errors=True)
    save_model(config, model, fresh)
    (fresh / SCORE).write_text(score.model_dump_json())
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def take_best(config: TrainConfig, model: Any, best: Score) -> None:
    """Puts the kept weights into `model`."""
    from safetensors.torch import load_file

    weights: dict[str, Any] = {}
    for path in sorted((config.out_dir / BEST).glob("*.safetensors")):
        weights |= load_file(path)
    if config.mode == "full":
        model.load_state_dict(weights, strict=False)  # tied weights are stored once
        model.tie_weights()
        return
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, weights)


def read_score(path: Path) -> Score | None:
    """None where there is none, or where the supervisor could not tell."""
    try:
        return Score.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None
