"""What a job does next: a pure function of its plan and its state.

Lost, repeated or reordered facts change nothing: every action is idempotent, a stage closes by its counters alone, and
the sweep looks for what no fact told. So `existing` and `finished` need not be whole: they are exact for the shards of
which they speak, and a fact costs the same in a job of a hundred thousand shards as in one of ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from shared.jobs.plan import Each, Fixed, Plan, Slices, StagePlan, Target
from shared.jobs.state import JobStatus, StageState

States = Mapping[str, StageState]


@dataclass(frozen=True, slots=True)
class AddShards:
    """Rows to add to a stage: shard number to its own parameters."""

    stage: str
    shards: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CloseStage:
    """No more shards come; `skipped` where the stage's need was not met."""

    stage: str
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class EndJob:
    """The job is over; `lost` names the stage that lost too much."""

    status: JobStatus
    lost: str | None = None


Action = AddShards | CloseStage | EndJob


def advance(plan: Plan, status: JobStatus, states: States) -> list[Action]:
    """Every action that is due now, in plan order."""
    if status.terminal:
        return []
    if status is JobStatus.CANCELLING:
        running = any(states[stage.id].running for stage in plan.stages)
        return [] if running else [EndJob(JobStatus.CANCELLED)]
    for stage in plan.stages:
        if states[stage.id].failed > lost_allowed(plan, stage):
            return [EndJob(JobStatus.FAILED, lost=stage.id)]
    if all(states[stage.id].terminal for stage in plan.stages):
        return [EndJob(JobStatus.SUCCEEDED)]
    return [action for stage in plan.stages for action in stage_actions(stage, states)]


def lost_allowed(plan: Plan, stage: StagePlan) -> int:
    """Fixed shards are a test set, a collected set, a model: nothing that follows can do without one of them."""
    return 0 if isinstance(stage.source, Fixed) else plan.lost_allowed


def stage_actions(stage: StagePlan, states: States) -> list[Action]:
    """What one stage does next."""
    state = states[stage.id]
    if state.closed or not all(states[name].terminal for name in stage.after):
        return []
    if stage.need:
        upstream = states[stage.need.stage]
        if not upstream.terminal:
            return []
        if upstream.counts.get(stage.need.count, 0) < stage.need.at_least:
            return [CloseStage(stage.id, skipped=True)]
    match stage.source:
        case Fixed() as fixed:
            return fixed_actions(stage.id, fixed)
        case Each() as each:
            return each_actions(stage.id, state, states[each.stage])
        case Slices() as slices:
            return slice_actions(stage.id, slices, states[slices.stage])
        case Target() as target:
            return target_actions(stage.id, state, target, states)


def fixed_actions(stage_id: str, source: Fixed) -> list[Action]:
    """All shards at once."""
    return [AddShards(stage_id, dict(enumerate(source.shards))), CloseStage(stage_id)]


def each_actions(stage_id: str, state: StageState, upstream: StageState) -> list[Action]:
    """A shard for every finished one upstream; closed when upstream is terminal and, by their numbers, all are here."""
    actions: list[Action] = []
    missing = sorted(upstream.finished - state.existing)
    if missing:
        actions.append(AddShards(stage_id, {shard: {} for shard in missing}))
    if upstream.terminal and state.total + len(missing) == upstream.done:
        actions.append(CloseStage(stage_id, skipped=upstream.skipped))
    return actions


def slice_actions(stage_id: str, source: Slices, upstream: StageState) -> list[Action]:
    """The rows of a collected output, cut into shards, once their number is known."""
    if not upstream.terminal:
        return []
    rows = upstream.counts.get(source.count, 0)
    rows = min(rows, source.limit) if source.limit is not None else rows
    shards = {
        number: {"offset": number * source.size, "limit": min(source.size, rows - number * source.size)}
        for number in range(ceil(rows / source.size))
    }
    return [AddShards(stage_id, shards), CloseStage(stage_id)] if shards else [CloseStage(stage_id)]


def target_actions(stage_id: str, state: StageState, source: Target, states: States) -> list[Action]:
    """The next wave, when the last one is terminal where it is counted; closed when the amount is reached."""
    counted = states[source.stage]
    arrived = counted.done + counted.failed + sum(states[name].failed for name in source.via)
    reached = counted.counts.get(source.count, 0)
    if state.total and not (state.idle and arrived == state.done):
        return []
    if (state.total and reached >= source.amount) or state.total >= source.most:
        return [CloseStage(stage_id)]
    wanted = ceil((source.amount - reached) / source.per_shard)
    last = min(state.total + max(wanted, 1), source.most)
    shards = {n: wave_params(source, source.amount - reached, n - state.total) for n in range(state.total, last)}
    return [AddShards(stage_id, shards)]


def wave_params(source: Target, missing: int, place: int) -> dict[str, Any]:
    """A full shard's amount, or what is left of the wave for its last one."""
    return {source.field: max(1, min(source.per_shard, missing - place * source.per_shard))}
