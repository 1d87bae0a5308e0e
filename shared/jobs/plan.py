"""The plan of a job: its stages and what each of them waits for. It is stored with the job and never changes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.registry import CONTRACTS


class PlanPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EachShard(PlanPart):
    """One shard for each finished shard of `stage`. The command's `fields` receive the outputs of that shard."""

    stage: str
    fields: dict[str, str] = Field(min_length=1)


class FixedShards(PlanPart):
    """One shard for each set of parameters in the plan."""

    shards: list[dict[str, Any]] = Field(min_length=1)


class Slices(PlanPart):
    """Shards of `size` records each over an output of a single-shard stage; its `count` is the number of records."""

    stage: str
    output: str
    count: str
    size: int = Field(ge=1)
    limit: int | None = None
    field: str = "examples"


class Waves(PlanPart):
    """Waves of shards until `stage` has counted `amount`. A wave starts when the one before is terminal there.

    `first` is the number of shards in the first wave; later waves double the number of shards at most. `history` is the
    field of the command that receives the number of shards in completed waves, whose outputs may be read.

    Collecting the set may refuse more. With `collected`, that stage gets a shard when the amount is reached and the
    stages `beside` are terminal. If the set is `short`, another wave follows.

    The last wave is one after which `stop` is counted, or that brings the share of accepted examples in all that was
    `asked` for below `least`.
    """

    stage: str
    via: list[str] = Field(default_factory=list, description="stages in between, which may lose a shard of the wave")
    count: str
    amount: int = Field(ge=1)
    per_shard: int = Field(ge=1)
    most: int = Field(ge=1, description="the most shards")
    field: str = "count"
    first: int | None = Field(default=None, ge=1)
    history: str | None = None
    collected: str | None = None
    beside: list[str] = Field(default_factory=list, description="the other stages that the set is collected from")
    short: str = "short"
    asked: list[str] = Field(default_factory=list, description="counts of this stage that add up to what was asked for")
    least: float = Field(default=0.0, ge=0, lt=1)
    stop: str | None = None


class TopUp(PlanPart):
    """Shards that the waves of `stage` add, one each time that their amount is reached."""

    stage: str


class Need(PlanPart):
    """A stage with a need is skipped if `stage` counted fewer than `at_least`."""

    stage: str
    count: str
    at_least: int


class DeviceLease(PlanPart):
    """A device that is leased for one shard, or by the job until a stage `frees` it."""

    name: str
    hold: Literal["shard", "job"]


class StagePlan(PlanPart):
    """A stage: its task, where its shards come from, and what it waits for."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: str
    source: EachShard | FixedShards | Slices | Waves | TopUp
    after: list[str] = Field(default_factory=list, description="stages that must be closed and terminal")
    params: dict[str, Any] = Field(default_factory=dict)
    need: Need | None = None
    device: DeviceLease | None = None
    frees: str | None = None

    def upstream(self) -> set[str]:
        """Every stage that this one waits for or reads from, without the one that waves count: it is downstream."""
        names = set(self.after)
        if isinstance(self.source, EachShard | Slices | TopUp):
            names.add(self.source.stage)
        if self.need:
            names.add(self.need.stage)
        return names

    def given(self) -> set[str]:
        """The fields of the command that the stage or its shards set."""
        match self.source:
            case EachShard(fields=fields):
                return {*self.params, *fields}
            case FixedShards(shards=shards):
                return {*self.params, *(name for shard in shards for name in shard)}
            case Slices(field=field):
                return {*self.params, field}
            case Waves(field=field, history=history):
                return {*self.params, field, *([history] if history else [])}
            case TopUp():
                return {*self.params, "final", "told"}


class JobPlan(PlanPart):
    """Every stage comes after its upstream stages."""

    stages: list[StagePlan]
    lost_allowed: int = 0

    @model_validator(mode="after")
    def check_edges(self) -> "JobPlan":
        seen: set[str] = set()
        for stage in self.stages:
            if stage.id in seen:
                raise ValueError(f"stage {stage.id} stands twice in the plan")
            # stages refer only to earlier ones, so a plan has no cycles
            if missing := stage.upstream() - seen:
                raise ValueError(f"stage {stage.id} comes before {sorted(missing)}")
            if stage.task not in CONTRACTS:
                raise ValueError(f"stage {stage.id}: there is no task {stage.task}")
            if unknown := stage.given() - CONTRACTS[stage.task].static_fields():
                raise ValueError(f"stage {stage.id}: {stage.task} has no field {sorted(unknown)}")
            seen.add(stage.id)
        return self

    def stage(self, stage_id: str) -> StagePlan:
        return next(stage for stage in self.stages if stage.id == stage_id)
