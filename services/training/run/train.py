"""One run from config to artefact."""

import resource
import shutil
import time
from typing import Any

import torch

from services.training.checkpoints import newest_sealed
from services.training.config import TrainConfig
from services.training.exits import StopFlag
from services.training.run.artefact import RunFacts, write_artefact
from services.training.run.callbacks import (
    AdaptThreadsCallback,
    MetricsCallback,
    SaveByTimeCallback,
    ScoreCallback,
    SealCheckpointCallback,
    StopCallback,
    load_best_weights,
)
from services.training.run.data import encode_rows
from services.training.run.devices import ThreadGauge, check_processes_joined, choose_precision, is_main_process
from services.training.run.model import check_machine, load_policy, load_tokenizer
from services.training.run.trainers import SharedPrefixDPOTrainer, SharedPrefixSFTTrainer, to_dataset


def train(config: TrainConfig, flag: StopFlag, started: float) -> None:
    """Trains and writes the artefact. `started` is the start of the process on the monotonic clock.

    Raises `TrainingStop` with the reason if the run cannot finish.
    """
    check_machine(config)
    gauge = None if config.threads else ThreadGauge()
    torch.set_num_threads(config.threads or (gauge.limit if gauge else 1))
    bf16 = choose_precision(config)
    tokenizer = load_tokenizer(config)
    # before any weights are loaded, so that wrong data fails within seconds
    rows, data = encode_rows(config, tokenizer)
    flag.check()
    model = load_policy(config, longest=data.longest, bf16=bf16)
    flag.check()
    kind = SharedPrefixSFTTrainer if config.method == "sft" else SharedPrefixDPOTrainer
    trainer = kind(config, model, tokenizer, to_dataset(rows), bf16=bf16)
    check_processes_joined()
    flag.check()
    began = time.monotonic()
    if gauge is not None:
        trainer.add_callback(AdaptThreadsCallback(gauge))
    scorer = ScoreCallback(config, tokenizer, flag, bf16=bf16) if config.score_steps else None
    metrics = _run_loop(config, trainer, flag, scorer)
    flag.check()
    best = scorer.best if scorer else None
    kept = best.step if best is not None and best.step != trainer.state.global_step else None
    if kept is not None:
        load_best_weights(config, trainer.accelerator.unwrap_model(trainer.model))
    # the last tenth: the loss of a single step is noisy
    tail = metrics.losses[-max(1, len(metrics.losses) // 10) :]
    run = RunFacts(
        steps=trainer.state.global_step,
        final_loss=sum(tail) / len(tail) if tail else float("nan"),
        tokens=trainer.seen_tokens,
        train_seconds=round(time.monotonic() - began, 3),
        seconds=round(time.monotonic() - started, 3),
        threads=torch.get_num_threads(),
        bf16=bf16,
        peak_memory_bytes=peak_memory_bytes(),
        scores=metrics.scores() if scorer else [],
        kept_step=kept,
    )
    if is_main_process():
        shutil.rmtree(config.artefact_dir, ignore_errors=True)
    write_artefact(config, trainer, tokenizer, data, run)


def _run_loop(config: TrainConfig, trainer: Any, flag: StopFlag, scorer: ScoreCallback | None) -> MetricsCallback:
    found = newest_sealed(config.out_dir)
    metrics = MetricsCallback(config, resumed_at=found[1] if found else 0, scorer=scorer)
    trainer.seen_tokens = metrics.tokens_before
    for callback in (scorer, metrics, StopCallback(config, flag), SealCheckpointCallback(bf16=trainer.compute_bf16)):
        if callback is not None:
            trainer.add_callback(callback)
    if config.save_minutes is not None:
        trainer.add_callback(SaveByTimeCallback(config.save_minutes))
    trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
    return metrics


def peak_memory_bytes() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    # ru_maxrss is in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
