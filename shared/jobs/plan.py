"""A compiled job: uniquely named stage instances joined by edges. Stored with the job; pure data."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.registry import CONTRACTS


class PlanPart(BaseModel):
    """Plan data is frozen and knows its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EachShard(PlanPart):
    """A shard goes on as soon as its upstream shard is done; `fields` receive that shard's outputs, by name."""

    stage: str
    fields: dict[str, str] = Field(min_length=1)


class FixedShards(PlanPart):
    """One shard for each set of parameters, known when the plan is made."""

    shards: list[dict[str, Any]] = Field(min_length=1)


class Slices(PlanPart):
    """Shards over the rows of a single-shard stage's output, `size` rows each; `count` names the number of rows."""

    stage: str
    output: str
    count: str
    size: int = Field(ge=1)
    limit: int | None = None
    field: str = "examples"


class Waves(PlanPart):
    """Waves of shards until `stage` has counted `amount`; a wave begins when the one before is terminal there.

    With `first`, so many shards are the first wave, and later ones at most double what is there. `history` is the
    command's field that is told the number of shards in completed waves: what those left may be read.

    What is counted may still be refused where the set is collected. With `collected`, that stage gets a shard when the
    amount is reached and the stages `beside` it are there; where the set came out `short`, another wave follows.

    No wave follows one after which `stop` is counted, or `least` of what was `asked` for is not reached.
    """

    stage: str
    via: list[str] = Field(default_factory=list, description="stages between, which may lose a shard of the wave")
    count: str
    amount: int = Field(ge=1)
    per_shard: int = Field(ge=1)
    most: int = Field(ge=1, description="shards at the most")
    field: str = "count"
    first: int | None = Field(default=None, ge=1)
    history: str | None = None
    collected: str | None = None
    beside: list[str] = Field(default_factory=list, description="other stages that the set is collected from")
    short: str = "short"
    asked: list[str] = Field(default_factory=list, description="counts of this stage that make up what was asked for")
    least: float = Field(default=0.0, ge=0, lt=1)
    stop: str | None = None


class TopUp(PlanPart):
    """Shards that the target of `stage` adds, one each time that its amount seems to be reached."""

    stage: str


class Need(PlanPart):
    """The stage is skipped where `stage` counted fewer than `at_least`."""

    stage: str
    count: str
    at_least: int


class DeviceLease(PlanPart):
    """A device leased by name: for the shard, or from this stage on until a stage that `frees` it."""

    name: str
    hold: Literal["shard", "job"]


class StagePlan(PlanPart):
    """One stage: its task, where its shards come from, what must be complete before."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: str
    source: EachShard | FixedShards | Slices | Waves | TopUp
    after: list[str] = Field(default_factory=list, description="stages that must be closed and terminal")
    params: dict[str, Any] = Field(default_factory=dict)
    need: Need | None = None
    device: DeviceLease | None = None
    frees: str | None = None

    def upstream(self) -> set[str]:
        """Every stage this one waits for or reads from (a target is downstream, so it does not count)."""
        names = set(self.after)
        if isinstance(self.source, EachShard | Slices | TopUp):
            names.add(self.source.stage)
        if self.need:
            names.add(self.need.stage)
        return names

    def given(self) -> set[str]:
        """The command's fields that the stage or its shards fill."""
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
    """Stages in an order in which every stage comes after its upstream."""

    stages: list[StagePlan]
    lost_allowed: int = 0

    @model_validator(mode="after")
    def check_edges(self) -> "JobPlan":
        """Unique ids, known tasks, edges that point backwards, parameters that the command knows."""
        seen: set[str] = set()
        for stage in self.stages:
            if stage.id in seen:
                raise ValueError(f"stage {stage.id} stands twice in the plan")
            if missing := stage.upstream() - seen:
                raise ValueError(f"stage {stage.id} comes before {sorted(missing)}")
            if stage.task not in CONTRACTS:
                raise ValueError(f"stage {stage.id}: there is no task {stage.task}")
            if unknown := stage.given() - CONTRACTS[stage.task].static_fields():
                raise ValueError(f"stage {stage.id}: {stage.task} has no field {sorted(unknown)}")
            seen.add(stage.id)
        return self

    def stage(self, stage_id: str) -> StagePlan:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.id == stage_id)
