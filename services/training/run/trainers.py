"""TRL's SFT and DPO trainers with shared prefixes, precomputed reference log-probabilities, and our losses."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import use_adapter

from services.training.config import TrainConfig
from services.training.run.collator import Batch, collate_rows
from services.training.run.data import EncodedRow, PromptGroupSampler, prompt_groups
from services.training.run.devices import gather_dict, is_main_process, rank_and_world_size, sum_over_processes
from services.training.run.losses import chosen_nll, preference_loss, sequence_logps, token_logps
from services.training.run.model import supports_shared_prompts, uses_segment_attention


class SharedPrefixTrainer:
    """What both trainers share: encoded rows, prompt groups in batches of similar length, no model cards."""

    recipe: TrainConfig
    compute_bf16: bool
    share_prompt: bool
    packed: bool
    pad_id: int
    seen_tokens: int

    def prepare(self, recipe: TrainConfig, model: Any, tokenizer: Any, *, bf16: bool) -> None:
        """Call this before TRL's `__init__`, which already needs some of these attributes."""
        self.recipe = recipe
        self.compute_bf16 = bf16
        self.share_prompt = supports_shared_prompts(model)
        self.packed = uses_segment_attention(model)
        self.pad_id = tokenizer.pad_token_id
        self.seen_tokens = 0

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        encoded = [EncodedRow(row["prompt_ids"], row["completion_ids"]) for row in rows]
        dtype = torch.bfloat16 if self.compute_bf16 else torch.float32
        return collate_rows(
            encoded,
            self.pad_id,
            share_prompt=self.share_prompt,
            mask_dtype=dtype,
            group_prompts=self.recipe.prompt_group_size > 1,
            packed=self.packed,
        )

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the artefact gets one at the end."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        dataset = train_dataset if train_dataset is not None else self.train_dataset  # type: ignore[attr-defined]
        return make_sampler(self.recipe, dataset["length"], dataset["prompt_ids"], self.share_prompt)

    def _record(self, batch: Batch, **values: float) -> None:
        self.seen_tokens += sum_over_processes(int(batch["tokens"]))
        metrics = self._metrics["train"]  # type: ignore[attr-defined]
        metrics["tokens"] = [self.seen_tokens]
        for name, value in values.items():
            metrics[name].append(value)


def make_sampler(
    recipe: TrainConfig, lengths: Sequence[int], prompts: Sequence[Sequence[int]], share: bool
) -> PromptGroupSampler:
    """Keeps prompt groups together only if the model can `share` their prefix."""
    prompt_group_size = recipe.prompt_group_size if share else 1
    groups = prompt_groups(prompts, prompt_group_size)
    return PromptGroupSampler(
        lengths, groups, prompt_group_size=prompt_group_size, batch_size=recipe.batch_size, seed=recipe.seed
    )


class SharedPrefixSFTTrainer(SharedPrefixTrainer, SFTTrainer):
    """Mean negative log-likelihood of the completion tokens of one optimizer step."""

    def __init__(self, recipe: TrainConfig, model: Any, tokenizer: Any, dataset: Dataset, *, bf16: bool) -> None:
        self.prepare(recipe, model, tokenizer, bf16=bf16)
        args = SFTConfig(**trainer_arguments(recipe), dataset_kwargs={"skip_prepare_dataset": True})
        SFTTrainer.__init__(
            self, model, args, data_collator=self.collate, train_dataset=dataset, processing_class=tokenizer
        )
        self.model_accepts_loss_kwargs = True  # the loss divides by the tokens of all accumulated batches itself

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        return torch.tensor(sum_over_processes(sum(len(batch["targets"]) for batch in batch_samples)), device=device)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The sum over this batch's completion tokens, divided by the tokens of the whole step in all processes.

        Gradients are averaged over the processes afterwards, hence the factor of the world size.
        """
        self._record(inputs)
        count = num_items_in_batch if num_items_in_batch is not None else len(inputs["targets"])
        return -rank_and_world_size()[1] * token_logps(model, inputs, bf16=self.compute_bf16).sum() / count


class SharedPrefixDPOTrainer(SharedPrefixTrainer, DPOTrainer):
    """Preference training against the reference log-probabilities of the SFT artefact.

    The policy is loaded from that artefact, so before the first step it is its own reference (on resume, the weights
    of the checkpoint are loaded later). One pass over the data replaces a second adapter, and more epochs cost no more
    passes. Without `precompute_reference` a frozen copy of the SFT adapter runs in every step, as in TRL.
    """

    def __init__(self, recipe: TrainConfig, model: Any, tokenizer: Any, dataset: Dataset, *, bf16: bool) -> None:
        self.prepare(recipe, model, tokenizer, bf16=bf16)
        args = DPOConfig(**trainer_arguments(recipe), precompute_ref_log_probs=recipe.mode == "full")
        DPOTrainer.__init__(
            self, model, args=args, data_collator=self.collate, train_dataset=dataset, processing_class=tokenizer
        )
        self.model_accepts_loss_kwargs = False  # the trainer divides by the accumulated batches
        self.ref_model = None
        if not recipe.precompute_reference:
            return
        if "ref" in getattr(model, "peft_config", {}):
            model.delete_adapter("ref")  # TRL's copy of the SFT adapter, which the log-probabilities replace
        self.train_dataset = dataset.add_column("reference", compute_reference_logps(self, model, list(dataset)))

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

    def sums(self, model: Any, batch: Batch) -> torch.Tensor:
        """(2 * B) log-probabilities of whole completions under `model`."""
        tokens = token_logps(model, batch, bf16=self.compute_bf16)
        return sequence_logps(tokens, batch["owners"], int(batch["owners"].max()) + 1)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The mean over the pairs. Records the reward margin and how often the chosen answer is preferred."""
        sums = self.sums(model, inputs)
        gained = sums - self._reference(model, inputs)
        counts = torch.bincount(inputs["owners"], minlength=len(sums))
        recipe = self.recipe
        losses = preference_loss(gained, counts, loss=recipe.loss, beta=recipe.beta, smoothing=recipe.label_smoothing)
        if recipe.rpo_alpha:
            losses = losses + recipe.rpo_alpha * chosen_nll(sums, counts)
        margin = recipe.beta * (gained[0::2] - gained[1::2]).detach()
        self._record(inputs, margin=margin.mean().item(), accuracy=(margin > 0).float().mean().item())
        return losses.mean()

    def _reference(self, model: Any, batch: Batch) -> torch.Tensor:
        if "reference" in batch:
            return batch["reference"]
        unwrapped = self.accelerator.unwrap_model(model)
        with torch.no_grad(), use_adapter(unwrapped, adapter_name="ref"):
            return self.sums(unwrapped, batch)


def compute_reference_logps(
    trainer: SharedPrefixDPOTrainer, model: Any, rows: list[dict[str, Any]]
) -> list[list[float]]:
    """[chosen, rejected] log-probabilities of every row under `model`, before its first step.

    The processes of a launch share the rows. A resumed run reads the file that the first one wrote.
    """
    file = trainer.recipe.reference_file
    # a resumed run takes exactly the numbers that the first one computed
    if file.exists() and len(saved := json.loads(file.read_text())) == len(rows):
        return list(saved)
    rank, processes = rank_and_world_size()
    # by length, so that batches hold little padding and all processes get similar work
    order = sorted(range(len(rows)), key=lambda index: rows[index]["length"])[rank::processes]
    part: dict[int, list[float]] = {}
    size = trainer.recipe.batch_size
    device = trainer.args.device
    frozen = model
    if next(model.parameters()).device != device:  # a sharded run leaves its weights on the CPU until training begins
        frozen = copy.deepcopy(model).to(device, torch.bfloat16)
    with torch.no_grad():
        for start in range(0, len(order), size):
            indexes = order[start : start + size]
            batch = trainer._prepare_inputs(trainer.collate([rows[index] for index in indexes]))
            pairs = trainer.sums(frozen, batch).view(-1, 2).tolist()
            part |= dict(zip(indexes, pairs, strict=True))
    del frozen
    logps = gather_dict(part)
    reference = [logps[index] for index in range(len(rows))]
    if is_main_process():
        file.write_text(json.dumps(reference))
    return reference


def to_dataset(rows: list[EncodedRow]) -> Dataset:
    return Dataset.from_list(
        [{"prompt_ids": row.prompt, "completion_ids": row.completions, "length": row.total} for row in rows]
    )


def trainer_arguments(recipe: TrainConfig) -> dict[str, Any]:
    return {
        "output_dir": str(recipe.out_dir),
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio,  # below one: a share of all steps
        "max_length": None,  # `encode_rows` has cut the rows
        "seed": recipe.seed,
        "use_cpu": not torch.cuda.is_available(),  # without it, processes on CPUs do not find each other
        "bf16": False,  # `token_logps` runs its own autocast
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if recipe.gradient_checkpointing else None,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": recipe.report_to,
        "run_name": recipe.name,
        "save_strategy": "steps" if recipe.save_steps else "no",
        "save_steps": recipe.save_steps or 500,
        "save_total_limit": 2,
    }
