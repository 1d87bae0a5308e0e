"""The configuration of a training run: recipe, preset, and the file that the supervisor hands to the process."""

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.contracts.training import LaunchMode, Loss, Quantization, Schedule, Tracker
from shared.errors import InvalidInputError

PRESETS_FOLDER = Path(__file__).parent / "presets"


class Recipe(BaseModel):
    """The numbers of a run, without its files. `learning_rate` is at its peak; lengths are in tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["lora", "full"] = "lora"
    quantization: Quantization = Field(default="none", description="4bit: QLoRA, the frozen base in NF4; GPU only")
    lora_rank: int = Field(default=16, ge=1, le=512)
    lora_alpha: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1, description="optimizer steps; overrides epochs")
    batch_size: int = Field(default=8, ge=1, description="rows (SFT) or pairs (DPO) a forward pass and process")
    prompt_group_size: int = Field(
        default=1,
        ge=1,
        description="rows of one prompt group that a batch takes together, their shared prefix computed once; 1: off",
    )
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = Field(default=False, description="a third more compute for far less memory")
    max_length: int = Field(default=1024, ge=8, description="prompt and one completion together")
    dropped_allowed: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of rows that may be left out because they are too long even when shortened",
    )
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    schedule: Schedule = "linear"
    seed: int = Field(default=0, ge=0)
    loss: Loss = Field(default="sigmoid", description="of preference training")
    beta: float = Field(default=0.1, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="epsilon of conservative DPO; 0: DPO")
    rpo_alpha: float = Field(default=0.0, ge=0, description="weight of the SFT term on the chosen side; 0: none")
    precompute_reference: bool = Field(
        default=True, description="reference log-probabilities once, before the first step; false: in every step (LoRA)"
    )
    bf16: bool | None = Field(default=None, description="None: whichever is faster on this machine")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; None: what other processes leave free")
    save_steps: int | None = Field(default=None, ge=1, description="steps between checkpoints")
    save_minutes: float | None = Field(default=None, gt=0, description="minutes between checkpoints")
    score_steps: int | None = Field(
        default=None, ge=1, description="steps between scores on the selection split; the best weights are kept"
    )
    score_questions: int = Field(default=32, ge=1, le=1000, description="questions of the split in each score")
    launch: LaunchMode = Field(default="single", description="one process, or `accelerate launch` with this strategy")
    processes: int = Field(default=1, ge=1, le=64, description="processes of a launch, one a GPU of this machine")
    report_to: Tracker = Field(default="none", description="a tracker beside metrics.jsonl and the TensorBoard file")

    @property
    def keeps_checkpoints(self) -> bool:
        return self.save_steps is not None or self.save_minutes is not None


class TrainConfig(Recipe):
    """A recipe with its files.

    `data` is JSONL of SftRecord (sft) or DpoRecord (dpo). `parent_adapter` is continued: DPO starts from it and takes
    it as the reference; with mode `full` it is merged into the base first.
    """

    method: Literal["sft", "dpo"]
    name: str = Field(description="name of the artefact, for the model card")
    base_name: str = Field(description="the base as the spec names it, e.g. builtin:smollm2-135m")
    base_dir: Path
    parent_adapter: Path | None = None
    data: Path
    out_dir: Path
    questions: Path | None = Field(default=None, description="JSON of SelectionQuestion, for score_steps")

    @field_validator("base_dir", "parent_adapter", "data", "out_dir", "questions")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # the training process has another working folder than its supervisor
        return path.absolute() if path is not None else None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method == "dpo" and self.mode == "lora" and self.parent_adapter is None:
            raise ValueError("dpo with mode lora continues an SFT adapter: set parent_adapter")
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing belongs to the sigmoid loss: leave it at 0 with loss ipo")
        if self.mode == "full" and self.quantization != "none":
            raise ValueError("a quantised base cannot be trained whole: use method lora, or quantization none")
        if self.method == "dpo" and self.mode == "full" and not self.precompute_reference:
            raise ValueError("full preference training computes its reference once: leave precompute_reference on")
        if self.launch == "single" and self.processes > 1:
            raise ValueError("several processes need a launch: ddp, fsdp or zero3")
        if self.score_steps is not None and self.launch != "single":
            raise ValueError("score_steps needs a training in one process: leave it out with this preset's launch")
        return self

    @property
    def artefact_dir(self) -> Path:
        return self.out_dir / "artefact"

    @property
    def metrics_file(self) -> Path:
        return self.out_dir / "metrics.jsonl"

    @property
    def reference_file(self) -> Path:
        """Reference log-probabilities of every pair, so that a resumed run uses exactly the same ones."""
        return self.out_dir / "reference.json"


class Preset(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sft: Recipe
    dpo: Recipe
    control: Recipe


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """Raises `InvalidInputError` with the known names."""
    if name not in preset_names():
        raise InvalidInputError(f"There is no training preset {name!r}; there is: {', '.join(preset_names())}.")
    return Preset.model_validate(yaml.safe_load((PRESETS_FOLDER / f"{name}.yaml").read_text()))
