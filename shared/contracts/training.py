"""Training: one supervised subprocess per shard."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.contracts.base import Command, Counts, Queue, StageRef, TaskContract
from shared.contracts.records import PromptStyle

Loss = Literal["sigmoid", "ipo"]
Quantization = Literal["none", "4bit"]
Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup"]
LaunchMode = Literal["single", "ddp", "fsdp", "zero3"]
Tracker = Literal["none", "mlflow", "wandb"]

# Each preset's `max_length`, in tokens: pairs that the trainer would cut are refused before training.
PRESET_LENGTHS = {
    "cpu-demo": 512,
    "cpu-smoke": 512,
    "gpu-13b-zero3": 4096,
    "gpu-7b-full-fsdp": 4096,
    "gpu-7b-lora": 4096,
    "sense-paper": 4096,
}
# Presets that train all weights, in several processes.
FULL_WEIGHT_PRESETS = frozenset({"gpu-13b-zero3", "gpu-7b-full-fsdp", "sense-paper"})


def check_preset(name: str) -> str:
    if name not in PRESET_LENGTHS:
        raise ValueError(f"there is no preset {name[:80]!r}; choose one of {', '.join(sorted(PRESET_LENGTHS))}")
    return name


Preset = Annotated[
    str,
    AfterValidator(check_preset),
    Field(json_schema_extra=lambda schema: schema.update(enum=sorted(PRESET_LENGTHS))),
]


class TrainSettings(BaseModel):
    """What a spec may set; None leaves the preset's value."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=500, allow_inf_nan=False)

    preset: Preset = "cpu-demo"
    epochs: float | None = Field(default=None, gt=0, le=1_000_000)
    max_steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    batch_size: int | None = Field(default=None, ge=1, le=1_000_000_000)
    prompt_group_size: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="rows of one prompt group (one schema) that a batch takes together: their shared prefix is "
        "computed once, and rows are mixed less; 1: off",
    )
    learning_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    schedule: Schedule | None = Field(default=None, description="of the learning rate, behind the warm-up")
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1, description="share of the steps in which it rises")
    bf16: bool | None = Field(
        default=None, description="compute in bfloat16; null: the preset's choice, else what the machine is faster in"
    )
    lora_rank: int | None = Field(default=None, ge=1, le=1_000_000_000)
    lora_alpha: int | None = Field(default=None, ge=1, le=1_000_000_000)
    gradient_accumulation: int | None = Field(default=None, ge=1, le=1_000_000_000)
    gradient_checkpointing: bool | None = None
    quantization: Quantization | None = Field(default=None, description="4bit: QLoRA; needs a GPU and bitsandbytes")
    max_length: int | None = Field(default=None, ge=16, le=1_000_000_000)
    dropped_allowed: float | None = Field(
        default=None, ge=0, le=1, description="share of rows that may be left out as too long; default 0.01"
    )
    loss: Loss | None = Field(default=None, description="preference training: sigmoid (DPO) or ipo")
    beta: float | None = Field(default=None, gt=0, le=1_000_000)
    label_smoothing: float | None = Field(default=None, ge=0, lt=0.5, description="conservative DPO; 0 is plain DPO")
    rpo_alpha: float | None = Field(
        default=None, ge=0, le=1_000_000, description="weight of an SFT term on the chosen side"
    )
    precompute_reference: bool | None = None
    save_steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="optimizer steps between checkpoints"
    )
    save_minutes: float | None = Field(default=None, gt=0, le=1_000_000, description="minutes between checkpoints")
    score_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="optimizer steps between execution accuracies on the selection split; the best weights are kept",
    )
    score_questions: int | None = Field(
        default=None, ge=1, le=1000, description="questions of the selection split asked each time; default 32"
    )
    processes: int | None = Field(default=None, ge=1, le=64, description="GPUs of a preset that launches several")
    report_to: Tracker | None = Field(
        default=None, description="mlflow or wandb; address and key stand in the worker's environment"
    )


class TrainModel(Command):
    """Trains `model` from `base` (continuing `parent` where there is one) on one output of a collected stage.

    `parent_from` is a stage that has chosen the parent; it goes before `parent`. `questions` is the collected stage
    whose selection split is asked while it trains, where the settings say so. `sample_rows` and `style` are those of
    the prompts in `data`; None where they are not known.
    """

    method: Literal["sft", "dpo"]
    recipe: Literal["sft", "dpo", "control"]
    mode: Literal["lora", "full"] = "lora"
    model: str
    base: str
    parent: str | None = None
    parent_from: StageRef | None = None
    data: StageRef
    output: str
    settings: TrainSettings
    questions: StageRef | None = None
    sample_rows: int | None = None
    style: PromptStyle | None = None
    seed: int = 0


class TrainedCounts(Counts):
    """Rows seen, optimizer steps taken."""

    rows: int
    steps: int


TRAIN_MODEL = TaskContract(
    name="training.train_model",
    queue=Queue.TRAINING,
    command=TrainModel,
    event="model.trained",
    counts=TrainedCounts,
    outputs=("manifest", "metrics", "tensorboard"),
    hard_limit_s=None,
)
