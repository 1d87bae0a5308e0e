"""Trainer callbacks: metrics, stopping, checkpoints, CPU threads, and scores on the selection split."""

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
SCORE_POLL_S = 0.05
SCORE_TIMEOUT_S = 600.0


class MetricsCallback(TrainerCallback):
    """Writes one JSON line per step. On resume it drops the lines after the checkpoint."""

    def __init__(self, config: TrainConfig, resumed_at: int, scorer: "ScoreCallback | None" = None) -> None:
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
        self._lines = [json.loads(line) for line in kept]

    def scores(self) -> list[SelectionScore]:
        """Every score on the selection split, including those from before a resume."""
        return [
            SelectionScore(
                step=one["step"],
                correct=round(one["execution_accuracy"] * one["questions"]),
                questions=one["questions"],
            )
            for one in self._lines
            if "execution_accuracy" in one
        ]

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Raises `TrainingStop` if the loss or the gradient is not finite."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        # a run with NaN weights would go on for hours and leave a useless model
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
        self._lines.append(line)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class StopCallback(TrainerCallback):
    """Ends the loop after the current step once the flag is set, with a checkpoint if checkpoints are on."""

    def __init__(self, config: TrainConfig, flag: StopFlag) -> None:
        self._save = config.keeps_checkpoints
        self._flag = flag

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        # all processes must leave the loop at the same step, else those that go on wait for the others for ever
        if any_process(self._flag.is_set):
            self._flag.is_set = True
            control.should_training_stop = True
            control.should_save = self._save
        return control


class SaveByTimeCallback(TrainerCallback):
    """Saves checkpoints by time: a step may take a second or a minute, but a kill should cost the same."""

    def __init__(self, minutes: float) -> None:
        self._every_s = 60 * minutes
        self._last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        # the last step needs no checkpoint: the artefact follows
        due = is_main_process() and time.monotonic() - self._last >= self._every_s
        if any_process(due) and state.global_step < state.max_steps:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._last = time.monotonic()


class AdaptThreadsCallback(TrainerCallback):
    """Uses the cores that other processes leave free, so that load at the start does not slow the whole run."""

    def __init__(self, gauge: ThreadGauge) -> None:
        self._gauge = gauge

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        torch.set_num_threads(self._gauge.threads())


class SealCheckpointCallback(TrainerCallback):
    """Seals each checkpoint once all processes have written it; a kill while saving leaves an older one."""

    def __init__(self, *, bf16: bool) -> None:
        self._bf16 = bf16

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # a seal written before the other processes are done would cover half a checkpoint
        wait_for_all()
        if not is_main_process():
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        record_precision(folder, self._bf16)
        seal(folder)


class ScoreCallback(TrainerCallback):
    """Scores the model every `score_steps` steps and after the last one, and keeps the best weights.

    `latest` is the score of the current step. If no score arrives within `SCORE_TIMEOUT_S`, training goes on.
    """

    def __init__(self, config: TrainConfig, tokenizer: Any, flag: StopFlag, *, bf16: bool) -> None:
        assert config.questions is not None and config.score_steps is not None
        questions = QUESTIONS.validate_json(config.questions.read_bytes())
        self.config, self.flag, self.every = config, flag, config.score_steps
        self.answerer = GreedyAnswerer(tokenizer, questions, bf16=bf16)
        self.best = read_score(config.out_dir / BEST_FOLDER / SCORE_FILE)
        self.latest: SelectionScore | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.latest = None
        step = state.global_step
        # a stopped run saves a checkpoint at once: scoring would use up its grace period
        if (step % self.every and step != state.max_steps) or self.flag.is_set:
            return
        texts, out_dir = self.answerer.answers(kwargs["model"]), self.config.out_dir
        answers_file(out_dir, step).unlink(missing_ok=True)  # of an earlier run in the same folder
        score_file(out_dir, step).unlink(missing_ok=True)
        write_file(answers_file(out_dir, step), ANSWERS.dump_json(texts))
        self.latest = self._wait(step)
        if self.latest is not None and self.latest.beats(self.best):
            self.best = self.latest
            keep_weights(self.config, kwargs["model"], self.best)

    def _wait(self, step: int) -> SelectionScore | None:
        path, ends = score_file(self.config.out_dir, step), time.monotonic() + SCORE_TIMEOUT_S
        # the supervisor, which may call the sandbox, writes the score; this process only waits
        while not path.exists() and not self.flag.is_set and time.monotonic() < ends:
            time.sleep(SCORE_POLL_S)
        return read_score(path)


def keep_weights(config: TrainConfig, model: Any, score: SelectionScore) -> None:
    # written beside and renamed, so that a kill while saving leaves no half of the weights in `best`
    folder, fresh = config.out_dir / BEST_FOLDER, config.out_dir / f"{BEST_FOLDER}.writing"
    shutil.rmtree(fresh, ignore_errors=True)
    save_model(config, model, fresh)
    (fresh / SCORE_FILE).write_text(score.model_dump_json())
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def load_best_weights(config: TrainConfig, model: Any) -> None:
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
    """None if there is no score, or if the supervisor could not score the answers."""
    try:
        return SelectionScore.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


class GreedyAnswerer:
    """Answers questions greedily, as the model will be served. Weights and random state stay as they are."""

    def __init__(self, tokenizer: Any, questions: Sequence[SelectionQuestion], *, bf16: bool) -> None:
        self.tokenizer, self.bf16 = tokenizer, bf16
        self.prompts = [(one.id, encode_row(tokenizer, one.prompt, []).prompt) for one in questions]

    def answers(self, model: Any) -> dict[str, str]:
        """Returns question id -> text. Prompts of similar length share a batch, so that little of it is padding."""
        # sorted by length, so that a batch holds little padding
        order = sorted(self.prompts, key=lambda one: len(one[1]))
        texts: dict[str, str] = {}
        autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16)
        with inference_mode(model), torch.no_grad(), autocast:
            for start in range(0, len(order), ANSWER_BATCH_SIZE):
                batch = order[start : start + ANSWER_BATCH_SIZE]
                answers = self._generate(model, [ids for _, ids in batch])
                texts |= dict(zip((question_id for question_id, _ in batch), answers, strict=True))
        return texts

    def _generate(self, model: Any, prompts: Sequence[list[int]]) -> list[str]:
        # prompts are padded on the left, so that all answers begin at the same index
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
    # dropout and gradient checkpointing are off in evaluation mode
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
