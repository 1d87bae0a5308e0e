"""What happens between steps: metrics out, stop on request or on a broken loss, checkpoints sealed."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from services.training.run.checkpoints import lines_up_to, seal
from services.training.run.precision import note_precision
from services.training.run.ranks import any_of, is_first, wait_for_all
from services.training.run.scoring import ScoreAnswers
from services.training.run.stopping import StopFlag
from services.training.run.threads import ThreadGauge
from services.training.scores import Score


class Metrics(TrainerCallback):
    """One flushed JSON line a step; on resume the lines after the checkpoint are taken back."""

    def __init__(self, config: TrainConfig, resumed_at: int, scorer: ScoreAnswers | None = None) -> None:
        self.scorer = scorer
        self.losses: list[float] = []
        self._extra = ("margin", "accuracy") if config.method == "dpo" else ()
        kept = lines_up_to(config.metrics_file, resumed_at)
        last = json.loads(kept[-1]) if kept else {"tokens": 0, "seconds": 0.0}
        self.tokens_before = int(last["tokens"])
        self._started = time.monotonic() - float(last["seconds"])
        place = config.metrics_file if is_first() else Path(os.devnull)
        self._file = place.open("w")
        self._file.writelines(kept)
        self._file.flush()
        self._told = [json.loads(line) for line in kept]

    def scores(self) -> list[Score]:
        """Every score on the selection split, those before a resume too."""
        return [
            Score(
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


class StopOnRequest(TrainerCallback):
    """Ends the loop after the current step once the flag is set, with a checkpoint where checkpoints are on."""

    def __init__(self, config: TrainConfig, flag: StopFlag) -> None:
        self._save = config.keeps_checkpoints
        self._flag = flag

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks the trainer to stop."""
        if any_of(self._flag.is_set):
            self._flag.is_set = True
            control.should_training_stop = True
            control.should_save = self._save
        return control


class SaveByClock(TrainerCallback):
    """Checkpoints by time: a step may take a second or a minute, what a kill may cost is the same."""

    def __init__(self, minutes: float) -> None:
        self._every_s = 60 * minutes
        self._last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks for a checkpoint once the time is over; the last step needs none, the artefact follows."""
        due = is_first() and time.monotonic() - self._last >= self._every_s
        if any_of(due) and state.global_step < state.max_steps:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Every checkpoint starts the clock again."""
        self._last = time.monotonic()


class AdaptThreads(TrainerCallback):
    """Follows what other processes leave free, so that load at the start does not slow the whole run."""

    def __init__(self, gauge: ThreadGauge) -> None:
        self._gauge = gauge

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sets the thread count for the next step."""
        torch.set_num_threads(self._gauge.threads())


class SealCheckpoints(TrainerCallback):
    """A checkpoint counts once it is sealed: a kill in the middle of saving leaves an older one to resume from."""

    def __init__(self, *, bf16: bool) -> None:
        self._bf16 = bf16

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seals the checkpoint that the trainer's processes have just written."""
        wait_for_all()
        if not is_first():
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        note_precision(folder, self._bf16)
        seal(folder)
