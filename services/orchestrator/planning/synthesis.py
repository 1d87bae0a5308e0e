"""A second wave of synthesis that follows the weak model's errors: measured on the first wave, before any set is final.

The first wave is collected, the weak model is asked some of its questions (after an SFT of its own on that wave, where
it is fine-tuned first), and what it gets wrong becomes wishes for the writer. What is written then is verified and
collected together with the first wave: everything downstream reads one larger set and is planned as without a wave.
"""

from collections.abc import Sequence
from typing import Any

from services.orchestrator.planning.stages import (
    SAMPLED_PER_SHARD,
    base_name,
    budget_params,
    deploy_stage,
    judge_stage,
    prompt_params,
    release_stage,
    sampling_params,
    stage_ref,
    train_stage,
)
from shared.contracts.base import OutputRef, StageRef
from shared.contracts.evaluation import ErrorWavePlan
from shared.contracts.records import AnswerTarget, Level, PromptStyle
from shared.contracts.spec import (
    DatasetSource,
    PairingSpec,
    PipelineSpec,
    StrongModel,
    SynthesisSource,
    SynthesisSpec,
    TestSet,
)
from shared.contracts.synthesis import CollectSource
from shared.jobs.plan import EachShard, FixedShards, Slices, StagePlan, TopUp, Waves

SELECTION_SEED_OFFSET = 1_000_003
TEST_SEED = 20_240_806
MAX_WAVES = 6
MIN_YIELD = 0.02
GRAMMAR_PER_SHARD = 20
LLM_PER_SHARD = 250
FIRST_WAVE_EXAMPLES = 200  # later waves at most double what is there, each told which domains are common by then
TEST_EXAMPLES_PER_SHARD = 33
USER_DATABASE_SHARE = 0.5
JUDGE_BUDGET_SHARE = 0.2  # of the budget, where a judge is asked: a review is some 300 tokens, an example some 2,000
TEST_LEVELS: dict[Level, float] = {"easy": 0.5, "medium": 0.35, "hard": 0.15}


def training_data_stages(
    spec: PipelineSpec | PairingSpec | SynthesisSpec, refuse: list[str], wave: "ErrorWave | None" = None
) -> list[StagePlan]:
    """Written or loaded, verified and collected training examples, with the selection split where the job promotes.

    A second `wave` comes between the first one and the set that both are collected into.
    """
    sources = spec.train.sft
    wanted = spec.selection.questions if isinstance(spec, PipelineSpec) else 0
    written = next((one for one in sources if isinstance(one, SynthesisSource)), None)
    stages, ready = source_stages(spec, sources, "train", spec.seed, selection=0 if written else wanted)
    total = exact_total(sources)
    if wave is not None:
        stages += wave.stages(list(ready))
        ready.append(written_source(ERROR_WAVE, spec.strong))
        total = None if total is None else total + error_wave_size(wave.spec)
    if written is not None and wanted:
        seed = spec.seed + SELECTION_SEED_OFFSET
        stages += write_and_verify(
            "selection", written, spec.strong, split="selection", amount=wanted, seed=seed, target=spec.target
        )
        ready.append(written_source("selection", spec.strong))
    last = "train" if wave is None else ERROR_WAVE
    return collect_stages(spec, stages, "train", ready, refuse=refuse, total=total, last=last)


def source_stages(
    spec: PipelineSpec | PairingSpec | SynthesisSpec,
    sources: Sequence[SynthesisSource | DatasetSource],
    name: str,
    seed: int,
    *,
    selection: int = 0,
) -> tuple[list[StagePlan], list[CollectSource]]:
    """The stages of each source and where they leave its examples; the first dataset gives the selection split."""
    stages: list[StagePlan] = []
    ready: list[CollectSource] = []
    for number, source in enumerate(sources):
        own = f"{name}{number or ''}"
        if isinstance(source, SynthesisSource):
            stages += write_and_verify(
                own,
                source,
                spec.strong,
                split="train",
                amount=source.synthesis,
                seed=seed + number,
                target=spec.target,
                databases=spec.database_ids,
            )
            ready.append(written_source(own, spec.strong))
        else:
            stages.append(load_stage(own, source, selection=selection, seed=seed + number))
            ready.append(CollectSource(accepted=StageRef(stage=stages[-1].id)))
            selection = 0
    return stages, ready


def write_and_verify(
    name: str,
    source: SynthesisSource,
    strong: StrongModel,
    *,
    split: str,
    amount: int,
    seed: int,
    target: AnswerTarget = "sql",
    databases: Sequence[str] = (),
) -> list[StagePlan]:
    """Write until `amount` examples are accepted, each shard built and verified as soon as it is there.

    A strong model's waves are told what the waves before them have left, so that domains stay spread.
    """
    told = strong.endpoint is not None
    per_shard = source.per_shard or examples_per_shard(strong, amount)
    shards = -(-amount // per_shard)
    until = Waves(
        stage=accepted_stage_id(name, strong),
        via=[f"build.{name}", *([f"verify.{name}"] if strong.judge else [])],
        count="accepted",
        amount=amount,
        per_shard=per_shard,
        most=shards * MAX_WAVES,
        first=-(-FIRST_WAVE_EXAMPLES // per_shard) if told else None,
        history="before" if told else None,
        asked=["written", "unparsed", "refused"],
        least=MIN_YIELD,
        stop="unasked",
    )
    params = {**writer_params(strong), "split": split, "levels": dict(source.levels), "seed": seed}
    params |= {"target": target, **database_params(source, databases)}
    if told:
        params["accepted"] = stage_ref(accepted_stage_id(name, strong))
    write = StagePlan(id=f"write.{name}", task="synthesis.write_examples", source=until, params=params)
    return [write, *build_and_verify(name, strong)]


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
        "budget_usd": strong.budget_usd and strong.budget_usd * (1 - JUDGE_BUDGET_SHARE * strong.judge),
        "budget_tokens": strong.budget_tokens,
        "evidence": strong.evidence,
        **seed_params(strong),
    }


def seed_params(strong: StrongModel) -> dict[str, Any]:
    """Whose examples the strong model is shown: a pinned data set's, or our own."""
    if strong.seeds is None:
        return {}
    return {"seeds": strong.seeds.dataset, "seeds_split": strong.seeds.split or "train"}


def database_params(source: SynthesisSource, databases: Sequence[str]) -> dict[str, Any]:
    """The share of a source that is written for databases of the user's: half, where it is not said."""
    share = USER_DATABASE_SHARE if source.user_database_share is None else source.user_database_share
    return {"databases": list(databases), "user_database_share": share} if databases and share else {}


def examples_per_shard(strong: StrongModel, amount: int) -> int:
    """A shard of an endpoint's is so large that it fills the endpoint: only calls of one shard fly together."""
    if strong.endpoint is None:
        return GRAMMAR_PER_SHARD
    return max(GRAMMAR_PER_SHARD, min(LLM_PER_SHARD, -(-amount // 2)))


def build_and_verify(name: str, strong: StrongModel | None = None) -> list[StagePlan]:
    """Build and verify behind a writing stage, shard by shard."""
    params = gate_params(strong) if strong is not None else {}
    build = StagePlan(
        id=f"build.{name}",
        task="sandbox.build_database",
        source=EachShard(stage=f"write.{name}", fields={"written": "written"}),
    )
    verify = StagePlan(
        id=f"verify.{name}",
        task="sandbox.verify_examples",
        source=EachShard(stage=f"build.{name}", fields={"written": "written"}),
        params=params,
    )
    return [build, verify, *(review_stages(name, strong) if strong is not None else [])]


def gate_params(strong: StrongModel) -> dict[str, Any]:
    """Which gates verification has."""
    return {"agreement": strong.agreement, "neighbours": strong.neighbours if strong.endpoint is not None else 0}


def review_stages(name: str, strong: StrongModel) -> list[StagePlan]:
    """The judge behind verification, where one is asked."""
    if not strong.judge:
        return []
    budget = None if strong.budget_usd is None else strong.budget_usd * JUDGE_BUDGET_SHARE
    return [
        StagePlan(
            id=f"review.{name}",
            task="synthesis.review_examples",
            source=EachShard(stage=f"verify.{name}", fields={"examples": "examples"}),
            params={"endpoint": strong.endpoint, "model": strong.model, "budget_usd": budget},
        )
    ]


def accepted_stage_id(name: str, strong: StrongModel) -> str:
    """The stage that leaves a source's accepted examples."""
    return f"review.{name}" if strong.judge else f"verify.{name}"


def written_source(name: str, strong: StrongModel | None = None) -> CollectSource:
    """A written source as the set is collected from it: behind the gates, with what each gate refused."""
    gates = [("write", "unparsed"), ("build", "rejected"), ("verify", "rejected")]
    if strong is not None and strong.judge:
        gates.append(("review", "rejected"))
    return CollectSource(
        accepted=StageRef(stage=f"{gates[-1][0]}.{name}"),
        written=StageRef(stage=f"write.{name}"),
        rejected=[OutputRef(stage=StageRef(stage=f"{gate}.{name}"), output=output) for gate, output in gates],
    )


def load_stage(name: str, source: DatasetSource, *, selection: int, seed: int) -> StagePlan:
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
    return StagePlan(id=f"load.{name}", task="synthesis.load_dataset", source=FixedShards(shards=[{}]), params=params)


def collect_stages(
    spec: PipelineSpec | PairingSpec | SynthesisSpec,
    stages: list[StagePlan],
    name: str,
    ready: list[CollectSource],
    *,
    refuse: list[str],
    total: int | None,
    last: str,
) -> list[StagePlan]:
    """The stages and the set collected from them; of an exact size where all of it is written here.

    `last` names the source that is written to until the set has its `total`.
    """
    collect = collect_stage(
        name, ready, refuse=refuse, limit=total, rows=spec.prompt.rows, style=spec.style, given=spec.database_ids
    )
    return [*stages, collect] if total is None else with_top_up(stages, f"write.{last}", collect)


def exact_total(sources: Sequence[SynthesisSource | DatasetSource]) -> int | None:
    """How many examples are kept; None where data sets take part: they count themselves."""
    amounts = [one.synthesis for one in sources if isinstance(one, SynthesisSource)]
    return sum(amounts) if len(amounts) == len(sources) else None


def collect_stage(
    name: str,
    sources: list[CollectSource],
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
        source=FixedShards(shards=[{}]),
        after=[*(source.accepted.stage for source in sources), *refuse],
        params={
            "name": name,
            "sources": [source.model_dump() for source in sources],
            "refuse": [stage_ref(stage) for stage in refuse],
            "limit": limit,
            "prompt_rows": rows,
            "style": style.model_dump(),
            "given": list(given),
        },
    )


def with_top_up(stages: list[StagePlan], write: str, collect: StagePlan) -> list[StagePlan]:
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


def test_set_stages(tests: Sequence[TestSet], seed: int, rows: int, style: PromptStyle) -> list[StagePlan]:
    """The built-in sets, written, verified and collected before anything is trained: exports refuse what is in them."""
    shards: list[dict[str, Any]] = []
    for test in tests:
        if not test.builtin:
            continue
        if test.dataset == "builtin:handwritten":
            shards.append({"writer": "handwritten", "split": "handwritten", "count": test.questions or 1000})
        else:
            amount = test.questions or 132
            for begin in range(0, amount, TEST_EXAMPLES_PER_SHARD):
                count = min(TEST_EXAMPLES_PER_SHARD, amount - begin)
                shards.append({"writer": "grammar", "split": "test", "count": count})
    if not shards:
        return []
    params = {"levels": TEST_LEVELS, "seed": seed}
    write = StagePlan(
        id="write.test", task="synthesis.write_examples", source=FixedShards(shards=shards), params=params
    )
    return [
        write,
        *build_and_verify("test"),
        collect_stage("test", [written_source("test")], refuse=[], limit=None, rows=rows, style=style),
    ]


FIRST_WAVE_STAGE = "collect.first"
PROFILE_STAGE = "profile.errors"
ERROR_WAVE = "errors"
WAVE_BUDGET_SHARE = 0.25  # of the weak model's budget: its first answers, which are recorded and not bought again
WAVE_SEED_OFFSET = 7_000_003


def error_wave_size(spec: PipelineSpec) -> int:
    """Examples of the second wave; 0 where there is none."""
    if not spec.strong.follow_errors:
        return 0
    first = sum(one.synthesis for one in spec.train.sft if isinstance(one, SynthesisSource))
    return max(1, round(spec.strong.follow_errors * first))


def reserve_wave_budget(spec: PipelineSpec) -> PipelineSpec:
    """The spec with what the wave leaves of the budgets, for everything but the wave."""
    if not spec.strong.follow_errors:
        return spec
    strong = budget_params(spec.strong, 1 / (1 + spec.strong.follow_errors))
    weak = budget_params(spec.weak, 1 - WAVE_BUDGET_SHARE)
    return spec.model_copy(
        update={"strong": spec.strong.model_copy(update=strong), "weak": spec.weak.model_copy(update=weak)}
    )


def error_wave_plan(spec: PipelineSpec) -> ErrorWavePlan | None:
    """What the report reads of the second wave; None where there is none."""
    if not spec.strong.follow_errors:
        return None
    return ErrorWavePlan(
        sample=StageRef(stage="sample.errors"),
        profile=StageRef(stage=PROFILE_STAGE),
        write=StageRef(stage=f"write.{ERROR_WAVE}"),
        accepted=StageRef(stage=accepted_stage_id(ERROR_WAVE, spec.strong)),
    )


class ErrorWave:
    """The stages of the second wave; `model` is the name of the weak model that is fine-tuned for it."""

    def __init__(self, spec: PipelineSpec, model: str, device: str, refuse: list[str]) -> None:
        self.spec = spec
        self.model = model
        self.device = device
        self.refuse = refuse
        self.source = next(one for one in spec.train.sft if isinstance(one, SynthesisSource))

    def stages(self, ready: list[CollectSource]) -> list[StagePlan]:
        """Everything between the first wave's stages, `ready`, and the set that both are collected into."""
        spec = self.spec
        first = collect_stage(
            "first",
            ready,
            refuse=self.refuse,
            limit=None,
            rows=spec.prompt.rows,
            style=spec.style,
            given=spec.database_ids,
        )
        return [first, *self._weak_model(), *self._errors(), *self._written()]

    @property
    def served_here(self) -> bool:
        """Whether the weak model is one of ours."""
        return self.spec.weak.endpoint is None

    def _weak_model(self) -> list[StagePlan]:
        """The weak model on the engine, after an SFT of its own where it is fine-tuned first."""
        weak = self.spec.weak
        if not self.served_here:
            return []
        if not weak.sft_first:
            return [self._deploy(base_name(weak.base), weak.base, adapter=False, after=[FIRST_WAVE_STAGE])]
        release = release_stage("release.first", [FIRST_WAVE_STAGE], self.device)
        sft = train_stage(
            "sft.weak",
            method="sft",
            recipe="sft",
            model=self.model,
            student=self.spec.student,
            data=stage_ref(FIRST_WAVE_STAGE),
            prompt=prompt_params(self.spec),
            output="sft",
            settings=self.spec.sft.model_copy(update={"score_steps": None}),  # no question is set aside yet
            seed=self.spec.seed,
            after=[FIRST_WAVE_STAGE, release.id],
            device=self.device,
        )
        return [release, sft, self._deploy(self.model, self.spec.student.base, adapter=True, after=["sft.weak"])]

    def _deploy(self, model: str, base: str, *, adapter: bool, after: list[str]) -> StagePlan:
        return deploy_stage("deploy.errors", model=model, base=base, adapter=adapter, after=after, device=self.device)

    def _errors(self) -> list[StagePlan]:
        """Answers to some questions of the first wave, their verdicts, and the wishes that follow from them."""
        weak = self.spec.weak
        model = weak.model or (self.model if weak.sft_first else base_name(weak.base))
        endpoint, rows = weak.endpoint or "engine", self.spec.prompt.rows
        asking = sampling_params(weak, endpoint, model, self.spec.seed, rows, self.spec.style)
        sample = StagePlan(
            id="sample.errors",
            task="pairing.sample_candidates",
            source=Slices(
                stage=FIRST_WAVE_STAGE,
                output="examples",
                count="examples",
                size=SAMPLED_PER_SHARD,
                limit=self.spec.strong.follow_questions,
            ),
            after=["deploy.errors"] if self.served_here else [],
            params={**asking, **budget_params(weak, WAVE_BUDGET_SHARE)},
        )
        release = [release_stage("release.errors", ["sample.errors"], self.device)] if self.served_here else []
        profile = StagePlan(
            id=PROFILE_STAGE,
            task="pairing.profile_errors",
            source=FixedShards(shards=[{}]),
            after=["judge.errors"],
            params={
                "judged": stage_ref("judge.errors"),
                "asked": stage_ref("sample.errors"),
                "levels": dict(self.source.levels),
            },
        )
        return [sample, *release, judge_stage("judge.errors", "sample.errors", {"official": True}), profile]

    def _written(self) -> list[StagePlan]:
        """The second wave, written to the wishes and verified like the first.

        All writing stages of a job draw on one ledger: what the first wave was given counts against the whole budget,
        and what it left over is the second one's too. Judges of examples have a budget each.
        """
        spec, strong = self.spec, self.spec.strong
        share = strong.follow_errors / (1 + strong.follow_errors)
        write, *checks = write_and_verify(
            ERROR_WAVE,
            self.source,
            strong.model_copy(update=budget_params(strong, share)),
            split="train",
            amount=error_wave_size(spec),
            seed=spec.seed + WAVE_SEED_OFFSET,
            target=spec.target,
            databases=spec.database_ids,
        )
        params = {**write.params, **writer_params(strong), "wishes": stage_ref(PROFILE_STAGE)}
        return [write.model_copy(update={"after": [PROFILE_STAGE], "params": params}), *checks]
