"""What a job does next: a pure function of its plan and its state.

Lost, repeated or reordered events change nothing: every action is idempotent, a stage closes by its counters alone, and
the sweep finds what no event reported. So `existing` and `finished` of a state may be incomplete: they are exact only
for the shards that were looked up. An event costs the same in a job of a hundred thousand shards as in one of ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from shared.jobs.plan import EachShard, FixedShards, JobPlan, Slices, StagePlan, TopUp, Waves
from shared.jobs.state import JobStatus, StageState

States = Mapping[str, StageState]
LARGEST_WAVE = 4.0  # times what is missing, so that a bad start does not spend everything on one wave


@dataclass(frozen=True, slots=True)
class AddShards:
    """Shards to add to a stage, each with its own parameters."""

    stage: str
    shards: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CloseStage:
    """No more shards come; `skipped` if the need of the stage is not met."""

    stage: str
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class EndJob:
    """The job is over; `lost` names the stage that lost too much."""

    status: JobStatus
    lost: str | None = None


Action = AddShards | CloseStage | EndJob


def advance(plan: JobPlan, status: JobStatus, states: States) -> list[Action]:
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
    """Fixed shards are test sets, collected sets and models: the job cannot go on without any of them."""
    return 0 if isinstance(stage.source, FixedShards | TopUp) else plan.lost_allowed


def stage_actions(stage: StagePlan, states: States) -> list[Action]:
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
            return [AddShards(stage.id, dict(enumerate(fixed.shards))), CloseStage(stage.id)]
        case EachShard() as each:
            return each_actions(stage.id, state, states[each.stage])
        case Slices() as slices:
            return slice_actions(stage.id, slices, states[slices.stage])
        case TopUp():
            return []  # its waves add to it and close it
        case Waves() as waves:
            return wave_actions(stage.id, state, waves, states)


def each_actions(stage_id: str, state: StageState, upstream: StageState) -> list[Action]:
    """Closes when upstream is terminal and the numbers agree, never because the known shards lack none."""
    actions: list[Action] = []
    missing = sorted(upstream.finished - state.existing)
    if missing:
        actions.append(AddShards(stage_id, {shard: {} for shard in missing}))
    if upstream.terminal and state.total + len(missing) == upstream.done:
        actions.append(CloseStage(stage_id, skipped=upstream.skipped))
    return actions


def slice_actions(stage_id: str, source: Slices, upstream: StageState) -> list[Action]:
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
    counted = states[source.stage]
    # a shard that failed in between never arrives, so it counts as arrived
    arrived = counted.done + counted.failed + sum(states[name].failed for name in source.via)
    reached = counted.counts.get(source.count, 0)
    if state.total and not (state.idle and arrived == state.done):
        return []
    stopped = source.stop is not None and state.counts.get(source.stop, 0) > 0
    # no wave follows the last allowed shard, a stop, or waves that gave next to nothing
    over = state.total >= source.most or stopped or reached < source.least * requested_count(state, source)
    if state.total and (over or reached >= source.amount):
        return close_or_top_up(stage_id, state, source, states, over)
    return [next_wave(stage_id, state, source, source.amount - reached, reached)]


def requested_count(state: StageState, source: Waves) -> int:
    """The number of examples requested so far; 0 if the stage does not count them."""
    return sum(state.counts.get(name, 0) for name in source.asked)


def close_or_top_up(stage_id: str, state: StageState, source: Waves, states: States, over: bool) -> list[Action]:
    """Closes once the collected set is full too; otherwise adds a wave for what the set is short of."""
    if source.collected is None:
        return [CloseStage(stage_id)]
    if not all(states[name].terminal for name in source.beside):
        return []
    # the number of shards so far also numbers the shard of the collected set: one for each wave
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
    """Scales what is missing by the yield: if half of the requests succeeded, twice as many follow."""
    asked = requested_count(state, source)
    write = ceil(missing * min(LARGEST_WAVE, asked / max(reached, 1))) if asked > reached else missing
    wanted = max(ceil(write / source.per_shard), 1)
    if source.first is not None:
        # later waves at most double what is there
        wanted = min(wanted, max(source.first, state.total))
    last = min(state.total + wanted, source.most)
    history = {source.history: state.total} if source.history else {}
    shards: dict[int, dict[str, Any]] = {}
    for number in range(state.total, last):
        left = write - (number - state.total) * source.per_shard
        shards[number] = {source.field: max(1, min(source.per_shard, left)), **history}
    return AddShards(stage_id, shards)
