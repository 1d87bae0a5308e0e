"""What happens between steps: metrics out, stop on request or on a broken loss, checkpoints sealed."""

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from services.training.checkpoints import metric_lines_up_to, seal
from services.training.config import TrainConfig
from services.training.exits import ExitCode, StopFlag, TrainingStop
from services.training.run.artefact import save_model
from services.training.run.data import encode_row
from services.training.run.devices import ThreadGauge, any_process, is_main_process, record_precision, wait_for_all
from services.training.scores import (
    ANSWERS,
    BEST_FOLDER,
    QUESTIONS,
    SCORE_FILE,
    SelectionQuestion,
    SelectionScore,
    answers_file,
    score_file,
    write_file,
)

MAX_ANSWER_TOKENS = 128
ANSWER_BATCH_SIZE = 16


class GreedyAnswerer:
    """Questions in, texts out. Training goes on as if nothing had been asked: no weight and no random state moves."""

    def __init__(self, tokenizer: Any, questions: Sequence[SelectionQuestion], *, bf16: bool) -> None:
        self.tokenizer, self.bf16 = tokenizer, bf16
        self.prompts = [(one.id, encode_row(tokenizer, one.prompt, []).prompt) for one in questions]

    def answers(self, model: Any) -> dict[str, str]:
        """Question id -> the text of the answer; prompts of similar length are answered together."""
        order = sorted(self.prompts, key=lambda one: len(one[1]))
        texts: dict[str, str] = {}
        with inference_mode(model), torch.no_grad(), self._autocast(model):
            for begin in range(0, len(order), ANSWER_BATCH_SIZE):
                part = order[begin : begin + ANSWER_BATCH_SIZE]
                texts |= dict(
                    zip((name for name, _ in part), self._write(model, [ids for _, ids in part]), strict=True)
                )
        return texts

    def _autocast(self, model: Any) -> Any:
        return torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16)

    def _write(self, model: Any, prompts: Sequence[list[int]]) -> list[str]:
        """Prompts padded on the left, so that all answers begin at the same place."""
        width, pad = max(map(len, prompts)), self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(one)) + one for one in prompts], device=model.device)
        seen = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=model.device)
        written = model.generate(
            input_ids=ids,
            attention_mask=seen,
            do_sample=False,
            use_cache=True,
            max_new_tokens=MAX_ANSWER_TOKENS,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=pad,
            temperature=None,
            top_p=None,
            top_k=None,
        )
        texts: list[str] = self.tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
        return texts


@contextlib.contextmanager
def inference_mode(model: Any) -> Iterator[None]:
    """Without dropout and recomputation, which belong to training."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


SCORE_POLL_S = 0.05
SCORE_TIMEOUT_S = 600.0


class ScoreCallback(TrainerCallback):
    """Scores after every `score_steps` steps and after the last one; `latest` is the score of the step that ends.

    A step whose score does not come (no sandbox for `PATIENCE_S`) is not chosen; the training goes on.
    """

    def __init__(self, config: TrainConfig, tokenizer: Any, flag: StopFlag, *, bf16: bool) -> None:
        assert config.questions is not None and config.score_steps is not None
        questions = QUESTIONS.validate_json(config.questions.read_bytes())
        self.config, self.flag, self.every = config, flag, config.score_steps
        self.answerer = GreedyAnswerer(tokenizer, questions, bf16=bf16)
        self.best = read_score(config.out_dir / BEST_FOLDER / SCORE_FILE)
        self.latest: SelectionScore | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks, waits for the verdicts, keeps the weights where they are the best so far."""
        self.latest = None
        step = state.global_step
        if (step % self.every and step != state.max_steps) or self.flag.is_set:
            return
        texts, out_dir = self.answerer.answers(kwargs["model"]), self.config.out_dir
        answers_file(out_dir, step).unlink(missing_ok=True)  # of a run before, in the same folder
        score_file(out_dir, step).unlink(missing_ok=True)
        write_file(answers_file(out_dir, step), ANSWERS.dump_json(texts))
        self.latest = self._wait(step)
        if self.latest is not None and self.latest.beats(self.best):
            self.best = self.latest
            keep_weights(self.config, kwargs["model"], self.best)

    def _wait(self, step: int) -> SelectionScore | None:
        path, ends = score_file(self.config.out_dir, step), time.monotonic() + SCORE_TIMEOUT_S
        while not path.exists() and not self.flag.is_set and time.monotonic() < ends:
            time.sleep(SCORE_POLL_S)
        return read_score(path)


def keep_weights(config: TrainConfig, model: Any, score: SelectionScore) -> None:
    """The weights and their score in `best`, in the place of the ones before."""
    folder, fresh = config.out_dir / BEST_FOLDER, config.out_dir / f"{BEST_FOLDER}.writing"
    shutil.rmtree(fresh, ignore_errors=True)
    save_model(config, model, fresh)
    (fresh / SCORE_FILE).write_text(score.model_dump_json())
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def load_best_weights(config: TrainConfig, model: Any, best: SelectionScore) -> None:
    """Puts the kept weights into `model`."""
    from safetensors.torch import load_file

    weights: dict[str, Any] = {}
    for path in sorted((config.out_dir / BEST_FOLDER).glob("*.safetensors")):
        weights |= load_file(path)
    if config.mode == "full":
        model.load_state_dict(weights, strict=False)  # tied weights are stored once
        model.tie_weights()
        return
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, weights)


def read_score(path: Path) -> SelectionScore | None:
    """None where there is none, or where the supervisor could not tell."""
    try:
        return SelectionScore.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


class MetricsCallback(TrainerCallback):
    """One flushed JSON line a step; on resume the lines after the checkpoint are taken back."""

    def __init__(self, config: TrainConfig, resumed_at: int, scorer: ScoreCallback | None = None) -> None:
        self.scorer = scorer
        self.losses: list[float] = []
        self._extra = ("margin", "accuracy") if config.method == "dpo" else ()
        kept = metric_lines_up_to(config.metrics_file, resumed_at)
        last = json.loads(kept[-1]) if kept else {"tokens": 0, "seconds": 0.0}
        self.tokens_before = int(last["tokens"])
        self._started = time.monotonic() - float(last["seconds"])
        place = config.metrics_file if is_main_process() else Path(os.devnull)
        self._file = place.open("w")
        self._file.writelines(kept)
        self._file.flush()
        self._told = [json.loads(line) for line in kept]

    def scores(self) -> list[SelectionScore]:
        """Every score on the selection split, those before a resume too."""
        return [
            SelectionScore(
                step=one["step"],
                correct=round(one["execution_accuracy"] * one["questions"]),
                questions=one["questions"],
            )
            for one in self._told
            if "execution_accuracy" in one
        ]

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Raises the NaN stop when the loss or the gradient is not finite."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
            raise TrainingStop(
                ExitCode.NAN_LOSS,
                f"The loss was not a finite number at step {state.global_step}: lower learning_rate "
                f"(it is {args.learning_rate:g}) or set bf16 to false.",
            )
        self.losses.append(logs["loss"])
        line = {"step": state.global_step, "total_steps": state.max_steps, "loss": logs["loss"]}
        line |= {"lr": logs["learning_rate"], "epoch": logs["epoch"], "tokens": int(logs["tokens"])}
        line |= {"seconds": round(time.monotonic() - self._started, 3)}
        line |= {name: logs[name] for name in self._extra}
        if self.scorer is not None and (score := self.scorer.latest) is not None:
            line |= {"execution_accuracy": round(score.accuracy, 4), "questions": score.questions}
        self._told.append(line)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class StopCallback(TrainerCallback):
    """Ends the loop after the current step once the flag is set, with a checkpoint where checkpoints are on."""

    def __init__(self, config: TrainConfig, flag: StopFlag) -> None:
        self._save = config.keeps_checkpoints
        self._flag = flag

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks the trainer to stop."""
        if any_process(self._flag.is_set):
            self._flag.is_set = True
            control.should_training_stop = True
            control.should_save = self._save
        return control


class SaveByTimeCallback(TrainerCallback):
    """Checkpoints by time: a step may take a second or a minute, what a kill may cost is the same."""

    def __init__(self, minutes: float) -> None:
        self._every_s = 60 * minutes
        self._last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks for a checkpoint once the time is over; the last step needs none, the artefact follows."""
        due = is_main_process() and time.monotonic() - self._last >= self._every_s
        if any_process(due) and state.global_step < state.max_steps:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Every checkpoint starts the clock again."""
        self._last = time.monotonic()


class AdaptThreadsCallback(TrainerCallback):
    """Follows what other processes leave free, so that load at the start does not slow the whole run."""

    def __init__(self, gauge: ThreadGauge) -> None:
        self._gauge = gauge

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sets the thread count for the next step."""
        torch.set_num_threads(self._gauge.threads())


class SealCheckpointCallback(TrainerCallback):
    """A checkpoint counts once it is sealed: a kill in the middle of saving leaves an older one to resume from."""

    def __init__(self, *, bf16: bool) -> None:
        self._bf16 = bf16

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seals the checkpoint that the trainer's processes have just written."""
        wait_for_all()
        if not is_main_process():
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        record_precision(folder, self._bf16)
        seal(folder)
