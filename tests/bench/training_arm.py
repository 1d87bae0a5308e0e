"""One arm of a training benchmark: `python -m tests.bench.training_arm ARM CONFIG.json`, a step a line of its input.

It tells `ready` before a step, waits for a line, and answers with what the step took: so two arms take steps in turn on
a machine that others use too.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from services.training.config import TrainConfig


def tell(**facts: Any) -> None:
    """One JSON line to the driver."""
    sys.__stdout__.write(json.dumps(facts) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def paced() -> Any:
    """A callback that takes one step a line; the step's own loss follows it."""
    from transformers import TrainerCallback

    class Paced(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            tell(ready=True)
            if not sys.stdin.readline():
                os._exit(0)
            self.wall, self.cpu = time.monotonic(), time.process_time()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.took = {"wall": time.monotonic() - self.wall, "cpu": time.process_time() - self.cpu}

        def on_log(self, *args: Any, **kwargs: Any) -> None:
            logs = kwargs["logs"]
            if "loss" in logs:
                tell(**self.took, loss=logs["loss"], tokens=logs.get("tokens", logs.get("num_tokens")))

    return Paced()


def ours(config: TrainConfig) -> Any:
    """Our trainer as `services.training.run.train` builds it."""
    from services.training.run.data import encode_rows
    from services.training.run.devices import use_bf16
    from services.training.run.model import load_policy, load_tokenizer
    from services.training.run.trainers import SharedPrefixDPOTrainer, SharedPrefixSFTTrainer, to_dataset

    tokenizer = load_tokenizer(config)
    rows, data = encode_rows(config, tokenizer)
    bf16 = use_bf16(config.bf16)
    model = load_policy(config, longest=data.longest, bf16=bf16)
    kind = SharedPrefixSFTTrainer if config.method == "sft" else SharedPrefixDPOTrainer
    began = time.process_time()
    trainer = kind(config, model, tokenizer, to_dataset(rows), bf16=bf16)
    tell(before=time.process_time() - began, rows=len(rows))
    return trainer


def stock(config: TrainConfig, *, same_order: bool) -> Any:
    """TRL's trainer with its defaults, but for gradient checkpointing, which is off in both arms."""
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from services.training.run.data import encode_rows
    from services.training.run.devices import use_bf16
    from services.training.run.model import load_tokenizer
    from services.training.run.trainers import make_sampler, trainer_arguments

    tokenizer = load_tokenizer(config)
    rows, _ = encode_rows(config, tokenizer)
    if config.method == "sft":  # the same tokens: TRL's own rendering would add the template's end of line to answers
        dataset = Dataset.from_list(
            [
                {"input_ids": row.prompt + row.completions[0], "labels": [-100] * len(row.prompt) + row.completions[0]}
                for row in rows
            ]
        )
    else:
        lines = [json.loads(line) for line in config.data.read_text().splitlines()]
        dataset = Dataset.from_list([{name: line[name] for name in ("prompt", "chosen", "rejected")} for line in lines])
    args = {**trainer_arguments(config), "bf16": use_bf16(config.bf16), "use_cpu": True, "remove_unused_columns": True}
    base: Any = SFTTrainer if config.method == "sft" else DPOTrainer

    class Arm(base):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            if not same_order:
                return super()._get_train_sampler(train_dataset)
            return make_sampler(config, [row.total for row in rows], [row.prompt for row in rows], share=True)

    if config.method == "sft":
        rank, alpha = config.lora_rank, config.lora_alpha
        lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        given: dict[str, Any] = {"model": str(config.base_dir), "args": SFTConfig(**args), "peft_config": lora}
    else:
        model = AutoModelForCausalLM.from_pretrained(config.base_dir)
        policy = PeftModel.from_pretrained(model, str(config.parent_adapter), is_trainable=True)
        given = {"model": policy, "args": DPOConfig(**args)}
    began = time.process_time()
    trainer = Arm(**given, train_dataset=dataset, processing_class=tokenizer)
    tell(before=time.process_time() - began, rows=len(rows))
    return trainer


def main() -> None:
    """Trains at the driver's pace."""
    import torch

    arm, config = sys.argv[1], TrainConfig.model_validate_json(Path(sys.argv[2]).read_text())
    sys.stdout = sys.stderr  # trainers print
    torch.set_num_threads(config.threads or 1)
    trainer = ours(config) if arm == "ours" else stock(config, same_order=arm == "stock-same-order")
    trainer.add_callback(paced())
    trainer.train()
    tell(over=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    main()
