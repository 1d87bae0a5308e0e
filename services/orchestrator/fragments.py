"""Pieces of plans that several kinds of job share: each returns the stages it adds, in order."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.records import Level, PromptStyle, Target
from shared.contracts.refs import StageRef
from shared.contracts.spec_models import StrongModel, Student, WeakModel
from shared.contracts.spec_sources import DatasetSource, SynthesisSource, TestSet
from shared.contracts.training import TrainSettings
from shared.jobs.plan import Device, Each, Fixed, Need, StagePlan, TopUp
from shared.jobs.plan import Target as Waves

WAVES_AT_MOST = 6
LEAST_YIELD = 0.02
GRAMMAR_PER_SHARD, LLM_PER_SHARD = 20, 250
FIRST_WAVE_EXAMPLES = 200  # later waves at most double what is there, each told which domains are common by then
HELD_OUT_PER_SHARD = 33
OWN_SHARE = 0.5
TEST_LEVELS: dict[Level, float] = {"easy": 0.5, "medium": 0.35, "hard": 0.15}


def ref(stage: str, job_id: str | None = None) -> dict[str, Any]:
    """A stage reference as a stage parameter."""
    return StageRef(stage=stage, job_id=job_id).model_dump()


def base_name(base: str) -> str:
    """The name under which a base is served: the last part of its reference."""
    return base.rstrip("/").rsplit("/", 1)[-1].removeprefix("builtin:").lower()


def writer_params(strong: StrongModel) -> dict[str, Any]:
    """Who writes: the endpoint's model, or the offline grammar writer."""
    if strong.endpoint is None:
        return {"writer": "grammar"}
    return {
        "writer": "llm",
        "endpoint": strong.endpoint,
        "model": strong.model,
        "temperature": strong.temperature,
        "max_tokens": strong.max_tokens,
        "budget_usd": strong.budget_usd and strong.budget_usd * (1 - JUDGES_SHARE * strong.judge),
        "budget_tokens": strong.budget_tokens,
        "evidence": strong.evidence,
        **seed_params(strong),
    }


def seed_params(strong: StrongModel) -> dict[str, Any]:
    """Whose examples the strong model is shown: a pinned data set's, or our own."""
    if strong.seeds is None:
        return {}
    return {"seeds": strong.seeds.dataset, "seeds_split": strong.seeds.split or "train"}


def own_params(source: SynthesisSource, databases: Sequence[str]) -> dict[str, Any]:
    """The share of a source that is written for databases of the user's: half, where it is not said."""
    share = OWN_SHARE if source.own_share is None else source.own_share
    return {"databases": list(databases), "own_share": share} if databases and share else {}


JUDGES_SHARE = 0.2  # of the budget, where a judge is asked: a review is some 300 tokens, an example some 2,000


def accepted_stage(name: str, strong: StrongModel) -> str:
    """The stage that leaves a source's accepted examples."""
    return f"review.{name}" if strong.judge else f"verify.{name}"


def gate_params(strong: StrongModel) -> dict[str, Any]:
    """Which gates verification has."""
    return {"agreement": strong.agreement, "neighbours": strong.neighbours if strong.endpoint is not None else 0}


def reviewed(name: str, strong: StrongModel) -> list[StagePlan]:
    """The judge behind verification, where one is asked."""
    if not strong.judge:
        return []
    budget = None if strong.budget_usd is None else strong.budget_usd * JUDGES_SHARE
    return [
        StagePlan(
            id=f"review.{name}",
            task="synthesis.review_examples",
            source=Each(stage=f"verify.{name}", fields={"examples": "examples"}),
            params={"endpoint": strong.endpoint, "model": strong.model, "budget_usd": budget},
        )
    ]


def checked(name: str, strong: StrongModel | None = None) -> list[StagePlan]:
    """Build and verify behind a writing stage, shard by shard."""
    params = gate_params(strong) if strong is not None else {}
    build = StagePlan(
        id=f"build.{name}",
        task="sandbox.build_database",
        source=Each(stage=f"write.{name}", fields={"written": "written"}),
    )
    verify = StagePlan(
        id=f"verify.{name}",
        task="sandbox.verify_examples",
        source=Each(stage=f"build.{name}", fields={"written": "written"}),
        params=params,
    )
    return [build, verify, *(reviewed(name, strong) if strong is not None else [])]


def synthesised(
    name: str,
    source: SynthesisSource,
    strong: StrongModel,
    *,
    split: str,
    amount: int,
    seed: int,
    target: Target = "sql",
    databases: Sequence[str] = (),
) -> list[StagePlan]:
    """Write until `amount` examples are accepted, each shard built and verified as soon as it is there.

    A strong model's waves are told what the waves before them have left, so that domains stay spread.
    """
    told = strong.endpoint is not None
    per_shard = source.per_shard or shard_size(strong, amount)
    shards = -(-amount // per_shard)
    until = Waves(
        stage=accepted_stage(name, strong),
        via=[f"build.{name}", *([f"verify.{name}"] if strong.judge else [])],
        count="accepted",
        amount=amount,
        per_shard=per_shard,
        most=shards * WAVES_AT_MOST,
        first=-(-FIRST_WAVE_EXAMPLES // per_shard) if told else None,
        history="before" if told else None,
        asked=["written", "unparsed", "refused"],
        least=LEAST_YIELD,
        stop="unasked",
    )
    params = {**writer_params(strong), "split": split, "levels": dict(source.levels), "seed": seed}
    params |= {"target": target, **own_params(source, databases)}
    if told:
        params["accepted"] = ref(accepted_stage(name, strong))
    write = StagePlan(id=f"write.{name}", task="synthesis.write_examples", source=until, params=params)
    return [write, *checked(name, strong)]


def shard_size(strong: StrongModel, amount: int) -> int:
    """A shard of an endpoint's is so large that it fills the endpoint: only calls of one shard fly together."""
    if strong.endpoint is None:
        return GRAMMAR_PER_SHARD
    return max(GRAMMAR_PER_SHARD, min(LLM_PER_SHARD, -(-amount // 2)))


def topped_up(stages: list[StagePlan], write: str, collect: StagePlan) -> list[StagePlan]:
    """The same stages, where `write` goes on until the collected set has the amount: its gates refuse examples too."""
    tied = []
    for stage in stages:
        if stage.id == write and isinstance(stage.source, Waves):
            beside = [name for name in collect.after if name != stage.source.stage]
            source = stage.source.model_copy(update={"collected": collect.id, "beside": beside})
            tied.append(stage.model_copy(update={"source": source}))
        else:
            tied.append(stage)
    return [*tied, collect.model_copy(update={"source": TopUp(stage=write)})]


def loaded(name: str, source: DatasetSource, *, selection: int, seed: int) -> StagePlan:
    """A split of a stored data set as training examples, `selection` questions of whole databases set aside."""
    params = {
        "dataset": source.dataset,
        "split": source.split or "train",
        "use": "train",
        "questions": source.questions,
        "weight": source.weight,
        "selection": selection,
        "seed": seed,
    }
    return StagePlan(id=f"load.{name}", task="synthesis.load_dataset", source=Fixed(shards=[{}]), params=params)


def test_sets(tests: Sequence[TestSet], seed: int, rows: int, style: PromptStyle) -> list[StagePlan]:
    """The built-in sets, written, verified and collected before anything is trained: exports refuse what is in them."""
    shards: list[dict[str, Any]] = []
    for test in tests:
        if not test.builtin:
            continue
        if test.dataset == "builtin:handwritten":
            shards.append({"writer": "handwritten", "split": "handwritten", "count": test.questions or 1000})
        else:
            amount = test.questions or 132
            for begin in range(0, amount, HELD_OUT_PER_SHARD):
                count = min(HELD_OUT_PER_SHARD, amount - begin)
                shards.append({"writer": "grammar", "split": "test", "count": count})
    if not shards:
        return []
    params = {"levels": TEST_LEVELS, "seed": seed}
    write = StagePlan(id="write.test", task="synthesis.write_examples", source=Fixed(shards=shards), params=params)
    return [write, *checked("test"), collected("test", ["verify.test"], refuse=[], limit=None, rows=rows, style=style)]


def collected(
    name: str,
    verified: list[str],
    *,
    refuse: list[str],
    limit: int | None,
    rows: int,
    style: PromptStyle,
    given: Sequence[str] = (),
) -> StagePlan:
    """The dataset of a name: read in order, without duplicates and without test questions."""
    return StagePlan(
        id=f"collect.{name}",
        task="synthesis.collect",
        source=Fixed(shards=[{}]),
        after=[*verified, *refuse],
        params={
            "verified": [ref(stage) for stage in verified],
            "refuse": [ref(stage) for stage in refuse],
            "limit": limit,
            "prompt_rows": rows,
            "style": style.model_dump(),
            "given": list(given),
        },
    )


def trained(
    stage: str,
    *,
    method: str,
    recipe: str,
    model: str,
    student: Student,
    data: dict[str, Any],
    output: str,
    settings: TrainSettings,
    seed: int,
    after: list[str],
    device: str,
    parent: str | None = None,
    need: Need | None = None,
) -> StagePlan:
    """One training run, alone on its device. What it is scored on while it runs was set aside with its examples."""
    questions = {**data, "stage": "collect.train"} if settings.score_steps else None
    params = {
        "method": method,
        "recipe": recipe,
        "mode": student.method,
        "model": model,
        "base": student.base,
        "parent": parent,
        "data": data,
        "output": output,
        "settings": settings.model_dump(),
        "questions": questions,
        "seed": seed,
    }
    return StagePlan(
        id=stage,
        task="training.train_model",
        source=Fixed(shards=[{}]),
        after=after,
        need=need,
        params=params,
        device=Device(name=device, hold="shard"),
    )


def deployed(
    stage: str, *, model: str, base: str, adapter: bool, after: list[str], device: str, need: Need | None = None
) -> StagePlan:
    """A model on the engine; the device stays with the job until it is released."""
    return StagePlan(
        id=stage,
        task="serving.deploy_model",
        source=Fixed(shards=[{}]),
        after=after,
        need=need,
        params={"model": model, "base": base, "adapter": adapter},
        device=Device(name=device, hold="job"),
    )


def undeployed(model: str, device: str) -> StagePlan:
    """A model off the engine; waits while another job holds the device and may be asking it."""
    return StagePlan(
        id="undeploy",
        task="serving.undeploy_model",
        source=Fixed(shards=[{}]),
        params={"model": model},
        device=Device(name=device, hold="shard"),
    )


def released(stage: str, after: list[str], device: str) -> StagePlan:
    """The engine leaves its device; waits where another job still holds it."""
    return StagePlan(
        id=stage,
        task="serving.release",
        source=Fixed(shards=[{}]),
        after=after,
        device=Device(name=device, hold="job"),
        frees=device,
    )


def sampling_params(
    weak: WeakModel, endpoint: str, model: str, seed: int, rows: int, style: PromptStyle
) -> dict[str, Any]:
    """How the weak model is asked."""
    return {
        "endpoint": endpoint,
        "model": model,
        "samples": weak.samples,
        "temperature": weak.temperature,
        "top_p": weak.top_p,
        "max_tokens": weak.max_tokens,
        "seed": seed,
        "prompt_rows": rows,
        "style": style.model_dump(),
        "budget_usd": weak.budget_usd,
        "budget_tokens": weak.budget_tokens,
    }


def judged(name: str, asked: str, params: dict[str, Any] | None = None) -> StagePlan:
    """Verdicts for a stage of candidates, shard by shard."""
    source = Each(stage=asked, fields={"candidates": "candidates", "examples": "examples"})
    return StagePlan(id=name, task="sandbox.judge_candidates", source=source, params=params or {})
