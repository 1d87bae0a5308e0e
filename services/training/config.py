"""What one training run needs to know. The supervisor writes it as JSON; the training process reads it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class Recipe(BaseModel):
    """The numbers of a run, without its files. `learning_rate` is at its peak; lengths are in tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["lora", "full"] = "lora"
    lora_rank: int = Field(default=16, ge=1, le=512)
    lora_alpha: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1, description="optimizer steps; overrides epochs")
    batch_size: int = Field(default=8, ge=1, description="rows (SFT) or pairs (DPO) a forward pass")
    gradient_accumulation: int = Field(default=1, ge=1)
    max_length: int = Field(default=1024, ge=8, description="prompt and one completion together")
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    schedule: Schedule = "linear"
    seed: int = Field(default=0, ge=0)
    beta: float = Field(default=0.1, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="e of conservative DPO; 0 is plain DPO")
    bf16: Literal["auto", "on", "off"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="CPU threads; None: follows what others leave free")
    save_steps: int | None = Field(default=None, ge=1, description="steps between checkpoints; None: no checkpoints")


class TrainConfig(Recipe):
    """A recipe with its files.

    `data` is JSONL of SftRow (sft) or DpoRow (dpo). `parent_adapter` is continued: DPO starts from it and takes it as
    the reference; with mode `full` it is merged into the base first.
    """

    method: Literal["sft", "dpo"]
    name: str = Field(description="name of the artefact, for the model card")
    base_name: str = Field(description="the base as the spec names it, e.g. builtin:smollm2-135m")
    base_dir: Path
    parent_adapter: Path | None = None
    data: Path
    out_dir: Path

    @field_validator("base_dir", "parent_adapter", "data", "out_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """The training process has another working folder than its supervisor."""
        return path.absolute() if path is not None else None

    @model_validator(mode="after")
    def _needs_parent(self) -> Self:
        if self.method == "dpo" and self.mode == "lora" and self.parent_adapter is None:
            raise ValueError("dpo with mode lora continues an SFT adapter: set parent_adapter")
        return self

    @property
    def artefact_dir(self) -> Path:
        """Where the finished adapter (or the full weights) lies."""
        return self.out_dir / "artefact"

    @property
    def metrics_file(self) -> Path:
        """One JSON line a step, written while training runs."""
        return self.out_dir / "metrics.jsonl"
