"""Training: one supervised subprocess a shard."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Command, Counts, Queue, TaskContract
from shared.contracts.refs import StageRef

# What `max_length` is where settings leave it to the preset: pairs that would be cut are refused before training.
PRESET_LENGTHS = {"cpu-demo": 512, "cpu-smoke": 512, "paper-lora": 4096}


class TrainSettings(BaseModel):
    """What a spec may set; None leaves the preset's value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = "cpu-demo"
    epochs: float | None = Field(default=None, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    lora_rank: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=16)
    beta: float | None = Field(default=None, gt=0)
    label_smoothing: float | None = Field(default=None, ge=0, lt=0.5)


class TrainModel(Command):
    """Trains `model` from `base` (continuing `parent` where there is one) on one output of a collected stage.

    `parent_from` is a stage that has chosen the parent; it goes before `parent`.
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
    seed: int = 0


class TrainedCounts(Counts):
    """Rows seen, optimizer steps taken."""

    rows: int
    steps: int


TRAIN_MODEL = TaskContract(
    name="training.train_model",
    queue=Queue.TRAINING,
    command=TrainModel,
    fact="model.trained",
    counts=TrainedCounts,
    outputs=("manifest", "metrics"),
    hard_limit_s=None,
    max_attempts=3,
)
