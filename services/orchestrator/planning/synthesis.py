"""Training data and test sets: write or load examples, build, verify, review and collect them."""

from collections.abc import Sequence
from typing import Any

from services.orchestrator.planning.stages import (
    SAMPLED_PER_SHARD,
    ModelNames,
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
from shared.contracts.records import AnswerTarget, Level
from shared.contracts.spec import (
    DatasetSource,
    EvaluationSpec,
    PairingSpec,
    PipelineSpec,
    StrongModel,
    SynthesisSource,
    SynthesisSpec,
)
from shared.contracts.synthesis import CollectSource
from shared.jobs.plan import EachShard, FixedShards, Slices, StagePlan, TopUp, Waves

SELECTION_SEED_OFFSET = 1_000_003
TEST_SEED = 20_240_806
MAX_WAVES = 6  # limit on all shards, in multiples of those that the amount needs
MIN_YIELD = 0.02  # waves end when a smaller share of the requested examples is accepted
GRAMMAR_PER_SHARD = 20
LLM_PER_SHARD = 250
FIRST_WAVE_EXAMPLES = 200  # later waves at most double what is there; each knows which domains are common by then
TEST_EXAMPLES_PER_SHARD = 33
USER_DATABASE_SHARE = 0.5
JUDGE_BUDGET_SHARE = 0.2  # of the budget, if there is a judge: a review takes some 300 tokens, an example some 2,000
TEST_LEVELS: dict[Level, float] = {"easy": 0.5, "medium": 0.35, "hard": 0.15}


def training_data_stages(
    spec: PipelineSpec | PairingSpec | SynthesisSpec, refuse: list[str], wave: "ErrorWave | None" = None
) -> list[StagePlan]:
    """The stages up to the collected training set, with a selection split if the job promotes a model.

    The stages of an error `wave` come between the first wave and the set into which both are collected.
    """
    sources = spec.train.sft
    wanted = spec.selection.questions if isinstance(spec, PipelineSpec) else 0
    # a written source writes its own selection split below; otherwise the first dataset gives it
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
    """Write until `amount` examples are accepted. Each shard is built and verified as soon as it is written.

    Later waves of a strong model read what earlier ones left, so that the domains stay spread.
    """
    reads_earlier_waves = strong.endpoint is not None
    per_shard = source.per_shard or examples_per_shard(strong, amount)
    shards = -(-amount // per_shard)
    until = Waves(
        stage=accepted_stage_id(name, strong),
        via=[f"build.{name}", *([f"verify.{name}"] if strong.judge else [])],
        count="accepted",
        amount=amount,
        per_shard=per_shard,
        most=shards * MAX_WAVES,
        first=-(-FIRST_WAVE_EXAMPLES // per_shard) if reads_earlier_waves else None,
        history="before" if reads_earlier_waves else None,
        asked=["written", "unparsed", "refused"],
        least=MIN_YIELD,
        stop="unasked",
    )
    params = {**writer_params(strong), "split": split, "levels": dict(source.levels), "seed": seed}
    params |= {"target": target, **database_params(source, databases)}
    if reads_earlier_waves:
        params["accepted"] = stage_ref(accepted_stage_id(name, strong))
    write = StagePlan(id=f"write.{name}", task="synthesis.write_examples", source=until, params=params)
    return [write, *build_and_verify(name, strong)]


def writer_params(strong: StrongModel) -> dict[str, Any]:
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
        **({"seeds": strong.seeds.dataset, "seeds_split": strong.seeds.split or "train"} if strong.seeds else {}),
    }


def database_params(source: SynthesisSource, databases: Sequence[str]) -> dict[str, Any]:
    share = USER_DATABASE_SHARE if source.user_database_share is None else source.user_database_share
    return {"databases": list(databases), "user_database_share": share} if databases and share else {}


def examples_per_shard(strong: StrongModel, amount: int) -> int:
    """With an endpoint, a shard is large enough to keep it busy: only the calls of one shard run at the same time."""
    if strong.endpoint is None:
        return GRAMMAR_PER_SHARD
    return max(GRAMMAR_PER_SHARD, min(LLM_PER_SHARD, -(-amount // 2)))


def build_and_verify(name: str, strong: StrongModel | None = None) -> list[StagePlan]:
    params = {}
    if strong is not None:
        suites = strong.suite_databases if strong.endpoint is not None else 0
        params = {"agreement": strong.agreement, "suite_databases": suites}
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
    if strong is None or not strong.judge:
        return [build, verify]
    budget = None if strong.budget_usd is None else strong.budget_usd * JUDGE_BUDGET_SHARE
    review = StagePlan(
        id=f"review.{name}",
        task="synthesis.review_examples",
        source=EachShard(stage=f"verify.{name}", fields={"examples": "examples"}),
        params={"endpoint": strong.endpoint, "model": strong.model, "budget_usd": budget},
    )
    return [build, verify, review]


def accepted_stage_id(name: str, strong: StrongModel) -> str:
    return f"review.{name}" if strong.judge else f"verify.{name}"


def written_source(name: str, strong: StrongModel | None = None) -> CollectSource:
    gates = [("write", "unparsed"), ("build", "rejected"), ("verify", "rejected")]
    if strong is not None and strong.judge:
        gates.append(("review", "rejected"))
    return CollectSource(
        accepted=StageRef(stage=f"{gates[-1][0]}.{name}"),
        written=StageRef(stage=f"write.{name}"),
        rejected=[OutputRef(stage=StageRef(stage=f"{gate}.{name}"), output=output) for gate, output in gates],
    )


def load_stage(name: str, source: DatasetSource, *, selection: int, seed: int) -> StagePlan:
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
    collect = collect_stage(name, ready, spec, refuse=refuse, limit=total, given=spec.database_ids)
    return [*stages, collect] if total is None else with_top_up(stages, f"write.{last}", collect)


def exact_total(sources: Sequence[SynthesisSource | DatasetSource]) -> int | None:
    """Returns None if the set holds datasets, whose size is known only once they are loaded."""
    amounts = [one.synthesis for one in sources if isinstance(one, SynthesisSource)]
    return sum(amounts) if len(amounts) == len(sources) else None


def collect_stage(
    name: str,
    sources: list[CollectSource],
    spec: PipelineSpec | PairingSpec | SynthesisSpec | EvaluationSpec,
    *,
    refuse: Sequence[str] = (),
    limit: int | None = None,
    given: Sequence[str] = (),
) -> StagePlan:
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
            **prompt_params(spec),
            "given": list(given),
        },
    )


def with_top_up(stages: list[StagePlan], write: str, collect: StagePlan) -> list[StagePlan]:
    """Lets `write` continue until the collected set is full, because collecting rejects examples too."""
    tied = []
    for stage in stages:
        if stage.id == write and isinstance(stage.source, Waves):
            # the waves already wait for the stage that counts them; the set also needs the others
            beside = [name for name in collect.after if name != stage.source.stage]
            source = stage.source.model_copy(update={"collected": collect.id, "beside": beside})
            tied.append(stage.model_copy(update={"source": source}))
        else:
            tied.append(stage)
    return [*tied, collect.model_copy(update={"source": TopUp(stage=write)})]


def test_set_stages(spec: PipelineSpec | EvaluationSpec) -> list[StagePlan]:
    """The built-in test sets come before any training data, which must not contain their questions."""
    shards: list[dict[str, Any]] = []
    for test in spec.evaluate:
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
    params = {"levels": TEST_LEVELS, "seed": TEST_SEED}
    write = StagePlan(
        id="write.test", task="synthesis.write_examples", source=FixedShards(shards=shards), params=params
    )
    return [
        write,
        *build_and_verify("test"),
        collect_stage("test", [written_source("test")], spec),
    ]


FIRST_WAVE_STAGE = "collect.first"
PROFILE_STAGE = "profile.errors"
ERROR_WAVE = "errors"
WAVE_BUDGET_SHARE = 0.25  # of the budget of the weak model, for the answers that the wave follows
WAVE_SEED_OFFSET = 7_000_003


def error_wave_size(spec: PipelineSpec) -> int:
    if not spec.strong.follow_errors:
        return 0
    first = sum(one.synthesis for one in spec.train.sft if isinstance(one, SynthesisSource))
    return max(1, round(spec.strong.follow_errors * first))


def reserve_wave_budget(spec: PipelineSpec) -> PipelineSpec:
    if not spec.strong.follow_errors:
        return spec
    strong = budget_params(spec.strong, 1 / (1 + spec.strong.follow_errors))
    weak = budget_params(spec.weak, 1 - WAVE_BUDGET_SHARE)
    return spec.model_copy(
        update={"strong": spec.strong.model_copy(update=strong), "weak": spec.weak.model_copy(update=weak)}
    )


def error_wave_plan(spec: PipelineSpec) -> ErrorWavePlan | None:
    if not spec.strong.follow_errors:
        return None
    return ErrorWavePlan(
        sample=StageRef(stage="sample.errors"),
        profile=StageRef(stage=PROFILE_STAGE),
        write=StageRef(stage=f"write.{ERROR_WAVE}"),
        accepted=StageRef(stage=accepted_stage_id(ERROR_WAVE, spec.strong)),
    )


class ErrorWave:
    """A second wave of synthesis that follows the errors of the weak model.

    The first wave is collected and the weak model answers some of its questions, after an SFT on that wave if it is
    fine-tuned first. What it gets wrong becomes wishes for the writer. The new examples are verified and collected
    together with the first wave, so all later stages read one larger set.
    """

    def __init__(self, spec: PipelineSpec, names: ModelNames, refuse: list[str]) -> None:
        self.spec = spec
        self.names = names
        self.model = names.model("sft.weak")
        self.refuse = refuse
        self.source = next(one for one in spec.train.sft if isinstance(one, SynthesisSource))

    def stages(self, ready: list[CollectSource]) -> list[StagePlan]:
        first = collect_stage("first", ready, self.spec, refuse=self.refuse, given=self.spec.database_ids)
        return [first, *self._weak_model(), *self._errors(), *self._written()]

    @property
    def on_engine(self) -> bool:
        return self.spec.weak.endpoint is None

    def _weak_model(self) -> list[StagePlan]:
        weak, stage, device = self.spec.weak, "deploy.errors", self.names.device
        if not self.on_engine:
            return []
        if not weak.sft_first:
            base, after = base_name(weak.base), [FIRST_WAVE_STAGE]
            return [deploy_stage(stage, model=base, base=weak.base, adapter=False, after=after, device=device)]
        release = release_stage("release.first", [FIRST_WAVE_STAGE], device)
        sft = train_stage(
            "sft.weak",
            self.spec.student,
            self.names,
            method="sft",
            data=stage_ref(FIRST_WAVE_STAGE),
            prompt=prompt_params(self.spec),
            output="sft",
            settings=self.spec.sft.model_copy(update={"score_steps": None}),  # no selection split exists yet
            seed=self.spec.seed,
            after=[FIRST_WAVE_STAGE, release.id],
        )
        base = self.spec.student.base
        deploy = deploy_stage(stage, model=self.model, base=base, adapter=True, after=[sft.id], device=device)
        return [release, sft, deploy]

    def _errors(self) -> list[StagePlan]:
        weak = self.spec.weak
        model = weak.model or (self.model if weak.sft_first else base_name(weak.base))
        asking = sampling_params(self.spec, weak.endpoint or "engine", model, self.spec.seed)
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
            after=["deploy.errors"] if self.on_engine else [],
            params={**asking, **budget_params(weak, WAVE_BUDGET_SHARE)},
        )
        release = [release_stage("release.errors", ["sample.errors"], self.names.device)] if self.on_engine else []
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

        All writing stages of a job draw on one ledger, so this wave gets the whole budget: what the first one spent
        is counted, and what it left over can be spent here. Reviews have a separate budget.
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
        # `write` was planned with a share of the budget; these parameters hold the whole one again
        params = {**write.params, **writer_params(strong), "wishes": stage_ref(PROFILE_STAGE)}
        return [write.model_copy(update={"after": [PROFILE_STAGE], "params": params}), *checks]
