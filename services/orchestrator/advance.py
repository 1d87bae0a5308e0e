"""What a job does next: a pure function of its plan and its state.

Lost, repeated or reordered facts change nothing: every action is idempotent, a stage closes by its counters alone, and
the sweep looks for what no fact told. So `existing` and `finished` need not be whole: they are exact for the shards of
which they speak, and a fact costs the same in a job of a hundred thousand shards as in one of ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from shared.jobs.plan import EachShard, FixedShards, JobPlan, Slices, StagePlan, TopUp, Waves
from shared.jobs.state import JobStatus, StageState

States = Mapping[str, StageState]
LARGEST_WAVE = 4.0  # times what is missing: a bad beginning does not spend everything on one wave


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


def advance(plan: JobPlan, status: JobStatus, states: States) -> list[Action]:
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


def lost_allowed(plan: JobPlan, stage: StagePlan) -> int:
    """Fixed shards are a test set, a collected set, a model: nothing that follows can do without one of them."""
    return 0 if isinstance(stage.source, FixedShards | TopUp) else plan.lost_allowed


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
        case FixedShards() as fixed:
            return fixed_actions(stage.id, fixed)
        case EachShard() as each:
            return each_actions(stage.id, state, states[each.stage])
        case Slices() as slices:
            return slice_actions(stage.id, slices, states[slices.stage])
        case TopUp():
            return []  # its target adds to it and closes it
        case Waves() as target:
            return wave_actions(stage.id, state, target, states)


def fixed_actions(stage_id: str, source: FixedShards) -> list[Action]:
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


def wave_actions(stage_id: str, state: StageState, source: Waves, states: States) -> list[Action]:
    """The next wave, when the last one is terminal where it is counted; closed when the amount is reached."""
    counted = states[source.stage]
    arrived = counted.done + counted.failed + sum(states[name].failed for name in source.via)
    reached = counted.counts.get(source.count, 0)
    if state.total and not (state.idle and arrived == state.done):
        return []
    over = is_exhausted(state, source, reached)
    if state.total and (over or reached >= source.amount):
        return close_or_top_up(stage_id, state, source, states, over)
    return [next_wave(stage_id, state, source, source.amount - reached, reached)]


def requested_count(state: StageState, source: Waves) -> int:
    """How many were asked for so far; 0 where that is not counted."""
    return sum(state.counts.get(name, 0) for name in source.asked)


def is_exhausted(state: StageState, source: Waves, reached: int) -> bool:
    """Whether no wave may follow: as many shards as may be, a stop, or next to nothing for what was asked."""
    stopped = source.stop is not None and state.counts.get(source.stop, 0) > 0
    return state.total >= source.most or stopped or reached < source.least * requested_count(state, source)


def close_or_top_up(stage_id: str, state: StageState, source: Waves, states: States, over: bool) -> list[Action]:
    """Closed, once the collected set has the amount too; a wave for what it came out short of."""
    if source.collected is None:
        return [CloseStage(stage_id)]
    if not all(states[name].terminal for name in source.beside):
        return []
    collected, number = states[source.collected], state.total
    short = collected.counts.get(source.short, 0)
    if number not in collected.existing:
        return [AddShards(source.collected, {number: {"final": over, "told": short}})]
    if number not in collected.finished:
        return []
    if over or short <= 0:
        return [CloseStage(stage_id), CloseStage(source.collected)]
    return [next_wave(stage_id, state, source, short, states[source.stage].counts.get(source.count, 0))]


def next_wave(stage_id: str, state: StageState, source: Waves, missing: int, reached: int) -> AddShards:
    """Shards for what is missing, by the yield so far: what half of the asked came through for is asked for twice."""
    asked = requested_count(state, source)
    write = ceil(missing * min(LARGEST_WAVE, asked / max(reached, 1))) if asked > reached else missing
    wanted = max(ceil(write / source.per_shard), 1)
    if source.first is not None:
        wanted = min(wanted, max(source.first, state.total))
    last = min(state.total + wanted, source.most)
    told = {source.history: state.total} if source.history else {}
    shards = {n: {**wave_params(source, write, n - state.total), **told} for n in range(state.total, last)}
    return AddShards(stage_id, shards)


def wave_params(source: Waves, missing: int, place: int) -> dict[str, Any]:
    """A full shard's amount, or what is left of the wave for its last one."""
    return {source.field: max(1, min(source.per_shard, missing - place * source.per_shard))}
