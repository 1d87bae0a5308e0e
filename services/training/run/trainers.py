"""TRL's trainers with the work taken out that a small CPU cannot afford, and with the losses of this product."""

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from services.training.config import TrainConfig
from services.training.run.batches import Batch, LengthGrouped, lay_out
from services.training.run.losses import cdpo_loss, sequence_logps, token_logps
from services.training.run.model import shares_prompts
from services.training.run.rows import Encoded


class Lean:
    """What both trainers share: rows are encoded already, batches have similar lengths, no cards, no probes."""

    recipe: TrainConfig
    compute_bf16: bool
    share_prompt: bool
    pad_id: int
    seen_tokens: int

    def prepare(self, recipe: TrainConfig, model: Any, tokenizer: Any, *, bf16: bool) -> None:
        """Set before TRL's own `__init__`, which already asks for some of it."""
        self.recipe = recipe
        self.compute_bf16 = bf16
        self.share_prompt = shares_prompts(model)
        self.pad_id = tokenizer.pad_token_id
        self.seen_tokens = 0

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        """A batch as `lay_out` makes it."""
        encoded = [Encoded(row["prompt_ids"], row["completion_ids"]) for row in rows]
        dtype = torch.bfloat16 if self.compute_bf16 else torch.float32
        return lay_out(encoded, self.pad_id, share_prompt=self.share_prompt, mask_dtype=dtype)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The artefact gets its card at the end; checkpoints need none."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        dataset = train_dataset if train_dataset is not None else self.train_dataset  # type: ignore[attr-defined]
        return LengthGrouped(dataset["length"], self.recipe.batch_size, self.recipe.seed)

    def _note(self, batch: Batch, **values: float) -> None:
        self.seen_tokens += int(batch["tokens"])
        metrics = self._metrics["train"]  # type: ignore[attr-defined]
        metrics["tokens"] = [self.seen_tokens]
        for name, value in values.items():
            metrics[name].append(value)


class LeanSft(Lean, SFTTrainer):
    """Mean negative log-likelihood of the completion tokens of one optimizer step."""

    def __init__(self, recipe: TrainConfig, model: Any, tokenizer: Any, dataset: Dataset, *, bf16: bool) -> None:
        self.prepare(recipe, model, tokenizer, bf16=bf16)
        args = SFTConfig(**arguments(recipe), dataset_kwargs={"skip_prepare_dataset": True})
        SFTTrainer.__init__(
            self, model, args, data_collator=self.collate, train_dataset=dataset, processing_class=tokenizer
        )
        self.model_accepts_loss_kwargs = True  # the loss divides by the tokens of all accumulated batches itself

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        return torch.tensor(sum(len(batch["targets"]) for batch in batch_samples), device=device)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Summed over this batch's completion tokens, divided by those of the whole step."""
        self._note(inputs)
        count = num_items_in_batch if num_items_in_batch is not None else len(inputs["targets"])
        return -token_logps(model, inputs, bf16=self.compute_bf16).sum() / count


class LeanDpo(Lean, DPOTrainer):
    """(Conservative) DPO against reference log-probabilities that the policy gave before its first step.

    The policy is loaded from the SFT artefact, so it is its own reference until then; on resume the checkpoint's
    weights come in later. One pass over the data replaces a second adapter, and a second epoch costs nothing more.
    """

    def __init__(self, recipe: TrainConfig, model: Any, tokenizer: Any, dataset: Dataset, *, bf16: bool) -> None:
        self.prepare(recipe, model, tokenizer, bf16=bf16)
        args = DPOConfig(**arguments(recipe), precompute_ref_log_probs=recipe.mode == "full")
        DPOTrainer.__init__(
            self, model, args=args, data_collator=self.collate, train_dataset=dataset, processing_class=tokenizer
        )
        if "ref" in getattr(model, "peft_config", {}):
            model.delete_adapter("ref")  # TRL's copy of the SFT adapter: the log-probabilities stand for it
        self.model_accepts_loss_kwargs = False  # the trainer divides by the accumulated batches
        self.train_dataset = with_reference(self, model, dataset)

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        """`reference`: (2 * B) summed reference log-probabilities, chosen and rejected in turn."""
        batch = super().collate(rows)
        if "reference" in rows[0]:
            batch["reference"] = torch.tensor([row["reference"] for row in rows]).flatten()
        return batch

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Mean over the pairs; notes the reward margin and how often the chosen is preferred."""
        tokens = token_logps(model, inputs, bf16=self.compute_bf16)
        gained = sequence_logps(tokens, inputs["owners"], len(inputs["reference"])) - inputs["reference"]
        difference = gained[0::2] - gained[1::2]
        margin = self.recipe.beta * difference.detach()
        self._note(inputs, margin=margin.mean().item(), accuracy=(margin > 0).float().mean().item())
        return cdpo_loss(difference, self.recipe.beta, self.recipe.label_smoothing).mean()


def with_reference(trainer: LeanDpo, model: Any, dataset: Dataset) -> Dataset:
    """`dataset` with a `reference` column: [chosen, rejected] log-probabilities under `model` as it is now."""
    rows = list(dataset)
    order = sorted(range(len(rows)), key=lambda index: rows[index]["length"])
    reference: list[list[float]] = [[] for _ in rows]
    size = trainer.recipe.batch_size
    with torch.no_grad():
        for start in range(0, len(order), size):
            indexes = order[start : start + size]
            batch = trainer._prepare_inputs(trainer.collate([rows[index] for index in indexes]))
            tokens = token_logps(model, batch, bf16=trainer.compute_bf16)
            sums = sequence_logps(tokens, batch["owners"], 2 * len(indexes)).view(-1, 2).tolist()
            for index, pair in zip(indexes, sums, strict=True):
                reference[index] = pair
    return dataset.add_column("reference", reference)


def to_dataset(rows: list[Encoded]) -> Dataset:
    """Columns `prompt_ids`, `completion_ids`, `length`; one row an example or pair."""
    return Dataset.from_list(
        [{"prompt_ids": row.prompt, "completion_ids": row.completions, "length": row.total} for row in rows]
    )


def arguments(recipe: TrainConfig) -> dict[str, Any]:
    """The trainer's arguments that SFT and DPO share."""
    return {
        "output_dir": str(recipe.out_dir),
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio,  # below one: a share of all steps
        "max_length": None,  # rows were measured before
        "seed": recipe.seed,
        "bf16": False,  # `token_logps` runs its own autocast
        "gradient_checkpointing": False,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "steps" if recipe.save_steps else "no",
        "save_steps": recipe.save_steps or 500,
        "save_total_limit": 2,
    }
