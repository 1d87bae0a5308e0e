"""Our SFT trainer against TRL's own: the same rows, batches, seed and optimizer; seconds a step and losses.

`python -m tests.bench.bench_training BASE_DIR ROWS.jsonl [STEPS]` on an idle machine. TRL's runs with its defaults
but for gradient checkpointing, which is off in both.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from services.training.config import TrainConfig


class Clock:
    """Seconds of every step and its loss; the first step, which warms up, is left out of the mean."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def callback(self) -> Any:
        """A trainer callback that feeds this clock."""
        from transformers import TrainerCallback

        clock = self

        class Ticks(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                self.began = time.monotonic()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                clock.times.append(time.monotonic() - self.began)

            def on_log(self, *args: Any, **kwargs: Any) -> None:
                if "loss" in kwargs["logs"]:
                    clock.losses.append(kwargs["logs"]["loss"])

        return Ticks()

    @property
    def mean(self) -> float:
        return sum(self.times[1:]) / len(self.times[1:])


def ours(config: TrainConfig) -> Clock:
    from services.training.run.model import load_policy, load_tokenizer, use_bf16
    from services.training.run.rows import encode_rows
    from services.training.run.trainers import LeanSft, to_dataset

    tokenizer = load_tokenizer(config)
    rows, data = encode_rows(config, tokenizer)
    bf16 = use_bf16(config.bf16)
    model = load_policy(config, longest=data.longest, bf16=bf16)
    return measure(LeanSft(config, model, tokenizer, to_dataset(rows), bf16=bf16))


def stock(config: TrainConfig) -> Clock:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from services.training.run.batches import LengthGrouped
    from services.training.run.model import load_tokenizer, use_bf16
    from services.training.run.rows import encode_rows
    from services.training.run.trainers import arguments

    tokenizer = load_tokenizer(config)
    rows, _ = encode_rows(config, tokenizer)
    columns = [
        {"input_ids": row.prompt + row.completions[0], "labels": [-100] * len(row.prompt) + row.completions[0]}
        for row in rows
    ]

    class SameOrder(SFTTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return LengthGrouped([row.total for row in rows], config.batch_size, config.seed)

    cpu = not torch.cuda.is_available()
    args = {**arguments(config), "bf16": use_bf16(config.bf16), "use_cpu": cpu, "remove_unused_columns": True}
    lora = LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = SameOrder(
        str(config.base_dir),
        SFTConfig(**args),
        train_dataset=Dataset.from_list(columns),
        processing_class=tokenizer,
        peft_config=lora,
    )
    return measure(trainer)


def measure(trainer: Any) -> Clock:
    clock = Clock()
    trainer.add_callback(clock.callback())
    trainer.train()
    return clock


def main() -> None:
    """Prints one line an arm, then the ratio."""
    base, data = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory() as out:
        config = TrainConfig(
            method="sft",
            name="bench",
            base_name=base.name,
            base_dir=base,
            data=data,
            out_dir=Path(out),
            learning_rate=1e-3,
            max_steps=steps,
            warmup_ratio=0,
        )
        lean, plain = ours(config), stock(config)
    for name, clock in (("ours", lean), ("TRL", plain)):
        print(f"{name:5} {clock.mean:6.2f} s/step  losses {[round(loss, 3) for loss in clock.losses]}")
    print(f"ratio {plain.mean / lean.mean:.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
