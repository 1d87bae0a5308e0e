"""`advance` as a pure function: what each kind of stage does, what follows it, and that order changes nothing."""

from typing import Any

import pytest

from services.orchestrator.advance import AddShards, CloseStage, EndJob, advance, wave_actions
from shared.jobs.plan import EachShard, FixedShards, JobPlan, Need, Slices, StagePlan, TopUp, Waves
from shared.jobs.state import JobStatus, StageState
from tests.unit.orchestrator.model import Counts, Model, ones

WRITE = {"writer": "grammar", "split": "train", "levels": {"easy": 1.0}, "seed": 1}


def fixed(stage: str, shards: int = 1, **fields: Any) -> StagePlan:
    return StagePlan(id=stage, task="synthesis.collect", source=FixedShards(shards=[{}] * shards), **fields)


def each(stage: str, upstream: str, **fields: Any) -> StagePlan:
    source = EachShard(stage=upstream, fields={"written": "written"})
    return StagePlan(id=stage, task="sandbox.verify_examples", source=source, **fields)


def slices(stage: str, upstream: str, size: int, limit: int | None = None) -> StagePlan:
    source = Slices(stage=upstream, output="examples", count="examples", size=size, limit=limit)
    return StagePlan(id=stage, task="pairing.sample_candidates", source=source)


def wave(amount: int, per_shard: int, most: int, *, via: tuple[str, ...] = ("build",)) -> StagePlan:
    source = Waves(stage="verify", via=list(via), count="accepted", amount=amount, per_shard=per_shard, most=most)
    return StagePlan(id="write", task="synthesis.write_examples", source=source, params=WRITE)


def waves(amount: int = 10, per_shard: int = 4, most: int = 9, **fields: Any) -> JobPlan:
    stages = [wave(amount, per_shard, most), each("build", "write"), each("verify", "build")]
    return JobPlan(stages=[*stages, fixed("collect", after=["verify"])], **fields)


def due(plan: JobPlan, **states: StageState) -> list[object]:
    known = {stage.id: states.get(stage.id, StageState()) for stage in plan.stages}
    return list(advance(plan, JobStatus.RUNNING, known))


def closed(done: int = 0, **fields: Any) -> StageState:
    return StageState(total=done, done=done, closed=True, finished=frozenset(range(done)), **fields)


def test_fixed_shards_come_at_once_with_their_parameters() -> None:
    stage = StagePlan(id="a", task="synthesis.write_examples", source=FixedShards(shards=[{"count": 1}, {"count": 2}]))
    plan = JobPlan(stages=[stage])
    assert due(plan) == [AddShards("a", {0: {"count": 1}, 1: {"count": 2}}), CloseStage("a")]


def test_after_waits_for_closed_and_terminal() -> None:
    plan = JobPlan(stages=[fixed("a", 2), fixed("b", after=["a"])])
    running = StageState(total=2, done=1, running=1, closed=True)
    assert due(plan, a=running) == []
    assert due(plan, a=StageState(total=2, done=2)) == [AddShards("a", {0: {}, 1: {}}), CloseStage("a")]
    assert due(plan, a=closed(2)) == [AddShards("b", {0: {}}), CloseStage("b")]


def test_each_follows_shard_by_shard_and_closes_with_its_upstream() -> None:
    plan = JobPlan(stages=[fixed("a", 3), each("b", "a")])
    some = StageState(total=3, done=2, queued=1, closed=True, finished=frozenset({0, 2}))
    assert due(plan, a=some) == [AddShards("b", {0: {}, 2: {}})]
    here = StageState(total=2, queued=2, existing=frozenset({0, 2}))
    assert due(plan, a=some, b=here) == []
    assert due(plan, a=closed(3), b=here) == [AddShards("b", {1: {}}), CloseStage("b")]


def test_each_closes_without_the_shards_that_upstream_lost() -> None:
    plan = JobPlan(stages=[fixed("f"), each("a", "f"), each("b", "a")], lost_allowed=1)
    lost = StageState(total=2, done=1, failed=1, closed=True, finished=frozenset({1}))
    assert due(plan, f=closed(1), a=lost) == [AddShards("b", {1: {}}), CloseStage("b")]


@pytest.mark.parametrize(
    ("rows", "limit", "expected"),
    [
        (7, None, [(0, 3), (3, 3), (6, 1)]),
        (6, None, [(0, 3), (3, 3)]),
        (2, None, [(0, 2)]),
        (7, 4, [(0, 3), (3, 1)]),
        (3, 9, [(0, 3)]),
        (0, None, []),
    ],
)
def test_slices_cover_the_rows_once(rows: int, limit: int | None, expected: list[tuple[int, int]]) -> None:
    plan = JobPlan(stages=[fixed("a"), slices("b", "a", 3, limit)])
    assert due(plan, a=StageState(total=1, running=1, closed=True, counts={"examples": rows})) == []
    shards = {number: {"offset": offset, "limit": size} for number, (offset, size) in enumerate(expected)}
    added: list[object] = [AddShards("b", shards)] if shards else []
    assert due(plan, a=closed(1, counts={"examples": rows})) == [*added, CloseStage("b")]


def test_the_first_wave_covers_the_amount() -> None:
    assert due(waves()) == [AddShards("write", {0: {"count": 4}, 1: {"count": 4}, 2: {"count": 2}})]


def test_a_wave_begins_when_the_last_one_is_terminal_where_it_is_counted() -> None:
    plan = waves()
    wrote = StageState(total=3, done=3, existing=frozenset(range(3)), finished=frozenset(range(3)))
    built = wrote
    part = StageState(total=3, done=2, running=1, existing=frozenset(range(3)), counts={"accepted": 5})
    assert due(plan, write=wrote, build=built, verify=part) == []
    full = StageState(total=3, done=3, existing=frozenset(range(3)), counts={"accepted": 5})
    assert due(plan, write=wrote, build=built, verify=full) == [AddShards("write", {3: {"count": 4}, 4: {"count": 1}})]
    reached = full.model_copy(update={"counts": {"accepted": 10}})
    assert due(plan, write=wrote, build=built, verify=reached) == [CloseStage("write")]


def test_a_shard_lost_on_the_way_does_not_hold_the_wave_up() -> None:
    plan = waves(lost_allowed=2)
    wrote = StageState(total=3, done=2, failed=1, existing=frozenset(range(3)), finished=frozenset({0, 1}))
    built = StageState(total=2, done=1, failed=1, existing=frozenset({0, 1}), finished=frozenset({0}))
    checked = StageState(total=1, done=1, existing=frozenset({0}), counts={"accepted": 4})
    assert due(plan, write=wrote, build=built, verify=checked) == [
        AddShards("write", {3: {"count": 4}, 4: {"count": 2}})
    ]


def test_a_target_stops_at_most_and_says_no_more() -> None:
    def nothing(stage: str, _shard: int, _params: dict[str, Any]) -> Counts:
        return {"accepted": 0} if stage == "verify" else {}

    model = Model(waves(most=7), nothing).run()
    assert model.status is JobStatus.SUCCEEDED
    assert list(model.rows()["write"]) == list(range(7))


def test_a_target_fills_up_to_the_amount() -> None:
    def half(stage: str, _shard: int, params: dict[str, Any]) -> Counts:
        return {"accepted": 2} if stage == "verify" else {}

    model = Model(waves(amount=10, per_shard=4, most=50), half).run()
    assert sum(counts["accepted"] for counts in model.stages["verify"].done.values()) >= 10
    assert len(model.rows()["write"]) == 5


def topped_up(amount: int, per_shard: int, most: int = 99) -> JobPlan:
    """A writer that goes on until the collected set has the amount, another set beside it."""
    plan = waves(amount, per_shard, most)
    write, build, verify, _ = plan.stages
    assert isinstance(write.source, Waves)
    more = {"collected": "collect", "beside": ["other"], "asked": ["written"], "least": 0.02, "stop": "unasked"}
    write = write.model_copy(update={"source": write.source.model_copy(update=more)})
    collect = StagePlan(id="collect", task="synthesis.collect", source=TopUp(stage="write"), after=["verify", "other"])
    return JobPlan(stages=[fixed("other"), write, build, verify, collect, fixed("train", after=["collect"])])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("pass_share", "duplicates"), [(1.0, 0), (0.5, 0), (0.8, 3), (0.9, 7)])
def test_a_set_that_came_out_short_is_topped_up(pass_share: float, duplicates: int, seed: int) -> None:
    """Verification takes a share, the set refuses some more: waves follow until it has exactly what was asked for."""
    model: Model

    def work(stage: str, shard: int, params: dict[str, Any]) -> Counts:
        if stage == "write":
            return {"written": params["count"]}
        if stage == "verify":
            return {"accepted": int(model.stages["write"].done[shard]["written"] * pass_share)}
        if stage != "collect":
            return {}
        accepted = sum(counts["accepted"] for counts in model.stages["verify"].done.values())
        short = max(0, 40 - max(0, accepted - duplicates))
        done = not short or params["final"]
        return {"examples": (40 - short) if done else 0, "short": short - params["told"]}

    model = Model(topped_up(40, 6), work, seed)
    model.run()
    assert model.status is JobStatus.SUCCEEDED
    counts = [model.stages["collect"].done[shard] for shard in sorted(model.stages["collect"].done)]
    assert [one["examples"] for one in counts] == [0] * (len(counts) - 1) + [40]
    assert sum(one["short"] for one in counts) == 0
    assert len(model.rows()["train"]) == 1


def test_next_to_no_yield_ends_the_waves_and_the_set_is_collected_as_it_is() -> None:
    def work(stage: str, _shard: int, params: dict[str, Any]) -> Counts:
        if stage == "collect":
            assert params["final"]
            return {"examples": 1, "short": 199}
        return {"written": params["count"]} if stage == "write" else {"accepted": 0}

    model = Model(topped_up(200, 50), work).run()
    assert model.status is JobStatus.SUCCEEDED
    assert len(model.rows()["write"]) == 4 and len(model.rows()["collect"]) == 1


def test_a_budget_that_is_spent_ends_the_waves() -> None:
    def work(stage: str, shard: int, params: dict[str, Any]) -> Counts:
        if stage == "write":
            return {"written": 3, "unasked": params["count"] - 3}
        return {"accepted": 3} if stage == "verify" else {}

    model = Model(topped_up(40, 20), work).run()
    assert model.status is JobStatus.SUCCEEDED
    assert len(model.rows()["write"]) == 2 and len(model.rows()["collect"]) == 1


def test_waves_ask_for_more_where_less_comes_through() -> None:
    plan = topped_up(40, 10)
    wrote = StageState(total=4, done=4, existing=frozenset(range(4)), counts={"written": 40})
    checked = StageState(total=4, done=4, existing=frozenset(range(4)), counts={"accepted": 20})
    found = due(plan, other=closed(1), write=wrote, build=wrote, verify=checked)
    added = [action for action in found if isinstance(action, AddShards) and action.stage == "write"]
    assert [sum(one["count"] for one in action.shards.values()) for action in added] == [40]


def needing(at_least: int) -> JobPlan:
    need = Need(stage="pairs", count="pairs", at_least=at_least)
    return JobPlan(
        stages=[
            fixed("pairs"),
            fixed("dpo", need=need, after=["pairs"]),
            fixed("deploy", need=need, after=["dpo"]),
            slices("answer", "deploy", 5),
            each("judge", "dpo"),
            fixed("report", after=["judge", "deploy"]),
        ]
    )


def test_a_need_that_is_not_met_skips_the_stage_and_what_follows_goes_on() -> None:
    def work(stage: str, _shard: int, _params: dict[str, Any]) -> Counts:
        return {"pairs": 7} if stage == "pairs" else {}

    model = Model(needing(8), work).run()
    assert model.status is JobStatus.SUCCEEDED
    skipped = {name: stage.skipped for name, stage in model.stages.items()}
    assert skipped["dpo"] and skipped["deploy"] and skipped["judge"]
    assert not skipped["report"] and not skipped["pairs"]
    assert {name: len(rows) for name, rows in model.rows().items()} == {
        "pairs": 1,
        "dpo": 0,
        "deploy": 0,
        "answer": 0,
        "judge": 0,
        "report": 1,
    }


def test_a_need_that_is_met_skips_nothing() -> None:
    model = Model(needing(8), lambda stage, *_: {"pairs": 8} if stage == "pairs" else {}).run()
    assert not any(stage.skipped for stage in model.stages.values())
    assert len(model.rows()["judge"]) == 1


def test_a_need_waits_until_its_stage_is_terminal() -> None:
    plan = JobPlan(stages=[fixed("pairs", 2), fixed("dpo", need=Need(stage="pairs", count="pairs", at_least=1))])
    assert due(plan, pairs=StageState(total=2, done=1, queued=1, closed=True, counts={"pairs": 5})) == []


@pytest.mark.parametrize(("allowed", "lost", "fails"), [(0, 1, True), (1, 1, False), (1, 2, True), (2, 2, False)])
def test_a_stage_may_lose_what_is_allowed(allowed: int, lost: int, fails: bool) -> None:
    plan = JobPlan(stages=[fixed("a", 4), each("b", "a")], lost_allowed=allowed)
    state = StageState(total=4, done=4 - lost, failed=lost, existing=frozenset(range(4)))
    actions = due(plan, a=closed(4), b=state)
    assert (actions == [EndJob(JobStatus.FAILED, lost="b")]) is fails


def test_a_stage_that_everything_rests_on_may_lose_nothing() -> None:
    """A collected dataset or a trained model is one shard: a job without it has nothing to succeed with."""
    plan = JobPlan(stages=[fixed("collect"), fixed("train", after=["collect"])], lost_allowed=3)
    lost = StageState(total=1, failed=1, closed=True)
    assert due(plan, collect=lost) == [EndJob(JobStatus.FAILED, lost="collect")]


def test_a_failed_job_names_the_first_stage_that_lost() -> None:
    def work(stage: str, shard: int, _params: dict[str, Any]) -> Counts:
        return None if (stage, shard) == ("build", 1) else {"accepted": 4} if stage == "verify" else {}

    for seed in range(5):
        model = Model(waves(), work, seed).run()
        assert (model.status, model.lost) == (JobStatus.FAILED, "build")


def test_cancelling_waits_for_what_runs_and_adds_nothing() -> None:
    plan = waves()
    idle = {stage.id: StageState() for stage in plan.stages}
    busy = idle | {"build": StageState(total=2, done=1, running=1)}
    assert advance(plan, JobStatus.CANCELLING, busy) == []
    assert advance(plan, JobStatus.CANCELLING, idle) == [EndJob(JobStatus.CANCELLED)]
    failed = idle | {"build": StageState(total=1, failed=1)}
    assert advance(plan, JobStatus.CANCELLING, failed) == [EndJob(JobStatus.CANCELLED)]


@pytest.mark.parametrize("status", [status for status in JobStatus if status.terminal])
def test_nothing_follows_the_end(status: JobStatus) -> None:
    plan = waves()
    assert advance(plan, status, {stage.id: StageState() for stage in plan.stages}) == []


def accepting(stage: str, shard: int, params: dict[str, Any]) -> Counts:
    """Counts that depend on the shard alone."""
    if stage == "verify":
        return {"accepted": (shard * 7) % 4}
    if stage == "collect":
        return {"examples": 23}
    return {}


def long_plan() -> JobPlan:
    stages = [*waves(amount=30, per_shard=4, most=40).stages, slices("sample", "collect", 4)]
    judge = StagePlan(
        id="judge",
        task="sandbox.judge_candidates",
        source=EachShard(stage="sample", fields={"candidates": "candidates"}),
    )
    return JobPlan(stages=[*stages, judge, fixed("pairs", after=["judge"]), fixed("report", after=["pairs"])])


def test_any_order_of_completion_gives_the_same_shards() -> None:
    first = Model(long_plan(), accepting, 0).run()
    assert first.status is JobStatus.SUCCEEDED
    assert len(first.rows()["write"]) > 8, "several waves"
    assert len(first.rows()["judge"]) == 6
    for seed in range(1, 40):
        model = Model(long_plan(), accepting, seed).run()
        assert model.rows() == first.rows()
        assert model.status is JobStatus.SUCCEEDED


def test_lost_shards_give_the_same_set_in_any_order_too() -> None:
    def work(stage: str, shard: int, params: dict[str, Any]) -> Counts:
        return (
            None if (stage, shard) in (("build", 1), ("verify", 4), ("write", 0)) else accepting(stage, shard, params)
        )

    plan = long_plan().model_copy(update={"lost_allowed": 1})
    first = Model(plan, work, 0).run()
    assert first.status is JobStatus.SUCCEEDED
    assert {1, 0} & set(first.rows()["verify"]) == set()
    for seed in range(1, 20):
        assert Model(plan, work, seed).run().rows() == first.rows()


def test_a_quiet_state_stays_quiet() -> None:
    model = Model(long_plan(), ones)
    model.settle()
    before = model.rows()
    assert model.actions() == model.actions() == []
    model.settle()
    assert model.rows() == before


def test_waves_double_and_are_told_what_is_completed() -> None:
    source = Waves(stage="verify", count="accepted", amount=100, per_shard=5, most=60, first=3, history="before")
    begin = advance_target(StageState(), StageState(), source)
    assert begin == {n: {"count": 5, "before": 0} for n in range(3)}
    sizes, total, accepted = [3], 3, 12
    while accepted < 100:
        done = StageState(total=total, done=total, existing=frozenset(range(total)))
        counted = StageState(done=total, counts={"accepted": accepted})
        added = advance_target(done, counted, source)
        assert {params["before"] for params in added.values()} == {total}
        assert min(added) == total and sum(params["count"] for params in added.values()) <= 100 - accepted
        sizes.append(len(added))
        total, accepted = total + len(added), accepted + sum(params["count"] for params in added.values())
    assert sizes == [3, 3, 6, 9]


def advance_target(state: StageState, counted: StageState, source: Waves) -> dict[int, dict[str, int]]:
    (action,) = wave_actions("write", state, source, {"verify": counted})
    assert isinstance(action, AddShards)
    return action.shards
