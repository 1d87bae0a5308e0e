"""What happens between steps: metrics out, stop on request or on a broken loss, checkpoints sealed."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from services.training.run.checkpoints import seal
from services.training.run.stopping import StopFlag
from services.training.run.threads import ThreadGauge


class Metrics(TrainerCallback):
    """One flushed JSON line a step; on resume the lines after the checkpoint are taken back."""

    def __init__(self, config: TrainConfig, resumed_at: int) -> None:
        self.losses: list[float] = []
        self._extra = ("margin", "accuracy") if config.method == "dpo" else ()
        kept = _lines_up_to(config.metrics_file, resumed_at)
        last = json.loads(kept[-1]) if kept else {"tokens": 0, "seconds": 0.0}
        self.tokens_before = int(last["tokens"])
        self._started = time.monotonic() - float(last["seconds"])
        self._file = config.metrics_file.open("w")
        self._file.writelines(kept)
        self._file.flush()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Raises the NaN stop when the loss or the gradient is not finite."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
            raise TrainingStop(
                ExitCode.NAN_LOSS,
                f"The loss was not a finite number at step {state.global_step}: lower learning_rate "
                f"(it is {args.learning_rate:g}) or set bf16 to off.",
            )
        self.losses.append(logs["loss"])
        line = {"step": state.global_step, "total_steps": state.max_steps, "loss": logs["loss"]}
        line |= {"lr": logs["learning_rate"], "epoch": logs["epoch"], "tokens": int(logs["tokens"])}
        line |= {"seconds": round(time.monotonic() - self._started, 3)}
        line |= {name: logs[name] for name in self._extra}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _lines_up_to(path: Path, step: int) -> list[str]:
    if step == 0 or not path.exists():
        return []
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if json.loads(line)["step"] <= step]


class StopOnRequest(TrainerCallback):
    """Ends the loop after the current step once the flag is set, with a checkpoint where checkpoints are on."""

    def __init__(self, config: TrainConfig, flag: StopFlag) -> None:
        self._save = config.save_steps is not None
        self._flag = flag

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks the trainer to stop."""
        if self._flag.is_set:
            control.should_training_stop = True
            control.should_save = self._save
        return control


class AdaptThreads(TrainerCallback):
    """Follows what other processes leave free, so that load at the start does not slow the whole run."""

    def __init__(self, gauge: ThreadGauge) -> None:
        self._gauge = gauge

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sets the thread count for the next step."""
        torch.set_num_threads(self._gauge.threads())


class SealCheckpoints(TrainerCallback):
    """A checkpoint counts once it is sealed: a kill in the middle of saving leaves an older one to resume from."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seals the checkpoint that the trainer has just written."""
        seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
