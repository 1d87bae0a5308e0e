"""The whole of the paper as a plan: strong data, SFT, weak data, DPO, serving, report."""

from collections.abc import Sequence

from services.orchestrator.benchmarks import (
    Arm,
    Benchmark,
    benchmark_stages,
    benchmarks_of,
    refused,
    score_params,
)
from services.orchestrator.following import PROFILE, WAVE, Wave, wave_size, without_wave
from services.orchestrator.fragments import (
    accepted_stage,
    base_name,
    collected,
    deployed,
    judged,
    loaded,
    ref,
    released,
    sampling_params,
    synthesised,
    test_sets,
    topped_up,
    trained,
)
from services.orchestrator.naming import Names, name_models
from services.orchestrator.paired import pair_stages, pairs_needed
from services.orchestrator.rounds import Rounds, chosen_model
from services.orchestrator.sizes import ANSWERED_PER_SHARD, ENDPOINT_SAMPLED_PER_SHARD, SAMPLED_PER_SHARD
from services.orchestrator.sweep import CHOICE, after_sweep, sweep_stages
from shared.contracts.evaluation import ArmPlan
from shared.contracts.refs import StageRef
from shared.contracts.spec import PairingSpec, PipelineSpec, SynthesisSpec
from shared.contracts.spec_sources import DatasetSource, SynthesisSource
from shared.jobs.plan import Each, Fixed, Need, Plan, Slices, StagePlan

SELECTION_SEED_OFFSET = 1_000_003
TEST_SEED = 20_240_806
ANSWER_TOKENS = 128


def synthesis_stages(
    spec: PipelineSpec | PairingSpec | SynthesisSpec, refuse: list[str], wave: Wave | None = None
) -> list[StagePlan]:
    """Written or loaded, verified and collected training examples, with the selection split where the job promotes.

    A second `wave` comes between the first one and the set that both are collected into.
    """
    sources = spec.train.sft
    wanted = spec.selection.questions if isinstance(spec, PipelineSpec) else 0
    written = next((one for one in sources if isinstance(one, SynthesisSource)), None)
    stages, ready = source_stages(spec, sources, "train", spec.seed, selection=0 if written else wanted)
    total = synthesis_total(sources)
    if wave is not None:
        stages += wave.stages(list(ready))
        ready.append(accepted_stage(WAVE, spec.strong))
        total = None if total is None else total + wave_size(wave.spec)
    if written is not None and wanted:
        seed = spec.seed + SELECTION_SEED_OFFSET
        stages += synthesised(
            "selection", written, spec.strong, split="selection", amount=wanted, seed=seed, target=spec.target
        )
        ready.append(accepted_stage("selection", spec.strong))
    last = "train" if wave is None else WAVE
    return with_set(spec, stages, "train", ready, refuse=refuse, total=total, last=last)


def with_set(
    spec: PipelineSpec | PairingSpec | SynthesisSpec,
    stages: list[StagePlan],
    name: str,
    ready: list[str],
    *,
    refuse: list[str],
    total: int | None,
    last: str,
) -> list[StagePlan]:
    """The stages and the set collected from them; of an exact size where all of it is written here.

    `last` names the source that is written to until the set has its `total`.
    """
    collect = collected(
        name, ready, refuse=refuse, limit=total, rows=spec.prompt.rows, style=spec.style, given=spec.own_ids
    )
    return [*stages, collect] if total is None else topped_up(stages, f"write.{last}", collect)


def source_stages(
    spec: PipelineSpec | PairingSpec | SynthesisSpec,
    sources: Sequence[SynthesisSource | DatasetSource],
    name: str,
    seed: int,
    *,
    selection: int = 0,
) -> tuple[list[StagePlan], list[str]]:
    """The stages of each source and the names of those that leave its examples; the first data set gives selection."""
    stages: list[StagePlan] = []
    ready: list[str] = []
    for number, source in enumerate(sources):
        own = f"{name}{number or ''}"
        if isinstance(source, SynthesisSource):
            amount = source.synthesis
            stages += synthesised(
                own,
                source,
                spec.strong,
                split="train",
                amount=amount,
                seed=seed + number,
                target=spec.target,
                databases=spec.own_ids,
            )
        else:
            stages.append(loaded(own, source, selection=selection, seed=seed + number))
            selection = 0
        ready.append(accepted_stage(own, spec.strong) if isinstance(source, SynthesisSource) else f"load.{own}")
    return stages, ready


def synthesis_total(sources: Sequence[SynthesisSource | DatasetSource]) -> int | None:
    """How many examples are kept; None where data sets take part: they count themselves."""
    amounts = [one.synthesis for one in sources if isinstance(one, SynthesisSource)]
    return sum(amounts) if len(amounts) == len(sources) else None


def pair_source(spec: PipelineSpec | PairingSpec, refuse: list[str]) -> tuple[list[StagePlan], str | None, str]:
    """Where the weak model is sampled: the stages to add, the one verified stage (None: several), the collected one."""
    if spec.train.pairs is None:
        ready = [accepted_stage(f"train{n or ''}", spec.strong) for n in range(len(spec.train.sft))]
        alone = None if spec.strong.follow_errors else only_verified(ready, spec.train.sft)
        return [], alone, "collect.train"
    sources, seed = spec.train.pairs, spec.seed + 2 * SELECTION_SEED_OFFSET
    stages, ready = source_stages(spec, sources, "pairs", seed)
    total = synthesis_total(sources)
    stages = with_set(spec, stages, "pairs", ready, refuse=refuse, total=total, last="pairs")
    return stages, only_verified(ready, sources), "collect.pairs"


def only_verified(ready: list[str], sources: Sequence[SynthesisSource | DatasetSource]) -> str | None:
    """The one stage whose shards can be sampled as they come; a data set is one shard, and goes by slices."""
    return ready[0] if len(sources) == 1 and isinstance(sources[0], SynthesisSource) else None


def sft_stages(spec: PipelineSpec | PairingSpec, names: Names) -> list[StagePlan]:
    """SFT on the collected examples, once the engine has left the device."""
    release = released("release.before", ["collect.train"], names.device)
    sft = trained(
        "sft",
        method="sft",
        recipe="sft",
        model=names.model("sft"),
        student=spec.student,
        data=ref("collect.train"),
        output="sft",
        settings=spec.sft,
        seed=spec.seed,
        after=["collect.train", release.id],
        device=names.device,
    )
    return [release, sft]


def weak_stages(spec: PipelineSpec | PairingSpec, names: Names, verified: str | None, dataset: str) -> list[StagePlan]:
    """Sampling, judging and pairing. Without a fine-tuned weak model, sampling follows verification shard by shard."""
    weak, stages = spec.weak, []
    rows = spec.prompt.rows
    if weak.endpoint is not None and weak.model is not None:
        params = sampling_params(weak, weak.endpoint, weak.model, spec.seed, rows, spec.style)
        after: list[str] = []
    else:
        model = names.model("sft") if weak.sft_first else base_name(weak.base)
        # a base that is sampled as it is waits too: it would hold the device that the SFT needs
        trained_before = ["sft"] if weak.sft_first or isinstance(spec, PipelineSpec) else []
        stages.append(
            deployed(
                "deploy.weak",
                model=model,
                base=spec.student.base if weak.sft_first else weak.base,
                adapter=weak.sft_first,
                after=trained_before,
                device=names.device,
            )
        )
        params = sampling_params(weak, "engine", model, spec.seed, rows, spec.style)
        after = ["deploy.weak"]
    fine_tuned = weak.endpoint is None and weak.sft_first
    source: Each | Slices
    if verified is not None and weak.questions is None and not fine_tuned:
        source = Each(stage=verified, fields={"examples": "examples"})
    else:
        source = Slices(
            stage=dataset,
            output="examples",
            count="examples",
            size=SAMPLED_PER_SHARD if weak.endpoint is None else ENDPOINT_SAMPLED_PER_SHARD,
            limit=weak.questions,
        )
    ready = after
    if weak.sweep is not None:
        stages += sweep_stages(weak, params, dataset, after)
        params, ready = after_sweep(weak, params), [*after, CHOICE]
    stages.append(StagePlan(id="sample", task="pairing.sample_candidates", source=source, after=ready, params=params))
    stages += pair_stages(spec, dataset, spec.seed)
    if after:
        stages.append(released("release.weak", ["sample"], names.device))
    return stages


def preference_stages(spec: PipelineSpec, names: Names, sampled_here: bool) -> list[StagePlan]:
    """DPO from the SFT model, and its control: SFT continued on the same chosen SQL for the same steps."""
    need = pairs_needed(spec)
    after = ["sft", "collect.preferences", *(["release.weak"] if sampled_here else [])]
    stages = []
    for stage, method, output in (("dpo", "dpo", "dpo"), ("control", "sft", "chosen")):
        settings = spec.dpo
        if stage == "control":
            settings = spec.dpo.model_copy(update={"learning_rate": None})
        stages.append(
            trained(
                stage,
                method=method,
                recipe=stage,
                model=names.model(stage),
                student=spec.student,
                data=ref("collect.preferences"),
                output=output,
                settings=settings,
                seed=spec.seed,
                after=after,
                device=names.device,
                parent=names.model("sft"),
                need=need,
            )
        )
    return stages


def compile_pipeline(job_id: str, spec: PipelineSpec, device: str) -> Plan:
    """The plan of a `pipeline` job."""
    names, whole = name_models(job_id, spec.student.base, device), spec
    spec = without_wave(whole)
    stages = test_sets(spec.evaluate, TEST_SEED, spec.prompt.rows, spec.style)
    benchmarks = benchmarks_of(spec.evaluate)
    refuse = refused(benchmarks, builtin=bool(stages))
    stages += [one.load() for one in benchmarks]
    wave = Wave(whole, names.model("sft.weak"), device, refuse) if whole.strong.follow_errors else None
    stages += synthesis_stages(spec, refuse, wave)
    more, verified, dataset = pair_source(spec, refuse)
    stages += more
    stages += sft_stages(spec, names)
    stages += weak_stages(spec, names, verified, dataset)
    sampled_here = spec.weak.endpoint is None
    stages += preference_stages(spec, names, sampled_here)
    rounds = Rounds(spec, names, dataset)
    stages += rounds.stages()
    stages += Arms(spec, names, benchmarks, rounds).stages()
    return Plan(stages=stages, lost_allowed=spec.lost_allowed)


class Arms:
    """The rows of the report and the stages that answer, judge and score them."""

    def __init__(self, spec: PipelineSpec, names: Names, benchmarks: list[Benchmark], rounds: Rounds) -> None:
        self.spec = spec
        self.rounds = rounds
        self.names = names
        self.benchmarks = benchmarks
        self.builtin = any(test.builtin for test in spec.evaluate)
        self.asked: list[Arm] = []
        self.need = pairs_needed(spec)
        self.arms: list[ArmPlan] = []
        self.answers: list[StagePlan] = []

    def stages(self) -> list[StagePlan]:
        """Deploys all models, asks them, scores, and keeps them served."""
        trainings = ["sft", "dpo", "control"]
        if (choice := self.rounds.last_choice) is not None:
            trainings.append(choice)
        deploys = [self._deploy(which, trainings) for which in ("base", "sft", "dpo", "control")]
        self._add_arms()
        if choice is not None:
            deploys.append(self._add_promoted(choice, trainings))
        judgings = [judged(f"judge.{arm.id}", f"answer.{arm.id}") for arm in self.arms]
        self.arms += self.rounds.arms
        more = benchmark_stages(self.benchmarks, self.asked)
        return [*deploys, *self.answers, *judgings, *more, self._score([stage.id for stage in more])]

    def _deploy(self, which: str, after: list[str]) -> StagePlan:
        is_base = which == "base"
        return deployed(
            f"deploy.{which}",
            model=self.names.base if is_base else self.names.model(which),
            base=self.spec.student.base,
            adapter=not is_base,
            after=after,
            device=self.names.device,
            need=self.need if which in ("dpo", "control") else None,
        )

    def _add_arms(self) -> None:
        self._arm("base", "Base, no examples shown", "base")
        self._arm("base-shots", "Base, two examples shown", "base", shots=2)
        for which, title in (("sft", "SFT"), ("control", "SFT + chosen (control)"), ("dpo", "DPO")):
            self._arm(which, title, which)
        for which, title in (("sft", "SFT"), ("dpo", "DPO")):
            if not self.rounds.plans:
                self._arm(f"{which}.selection", f"{title}, selection split", which, selection=True)
        if self.spec.sampling.questions:
            for which, title in (("sft", "SFT, sampled"), ("dpo", "DPO, sampled")):
                self._arm(f"{which}.sampled", title, which, samples=self.spec.sampling.samples)

    def _add_promoted(self, choice: str, after: list[str]) -> StagePlan:
        """The best model where it comes out of a later round: only then is it asked the test questions."""
        need, chosen = Need(stage=choice, count="later", at_least=1), ref(choice)
        deploy = self._deploy("dpo", after).model_copy(update={"id": "deploy.promoted", "need": need})
        self._arm("promoted", "DPO, best round", "dpo", choice=choice)
        return chosen_model(deploy, chosen)

    def _arm(
        self,
        arm_id: str,
        title: str,
        which: str,
        *,
        shots: int = 0,
        samples: int = 1,
        selection: bool = False,
        choice: str | None = None,
    ) -> None:
        model = self.names.base if which == "base" else self.names.model(which)
        temperature = 1.0 if samples > 1 else 0.0
        plan = ArmPlan(
            id=arm_id,
            title=title,
            model=model,
            judged=StageRef(stage=f"judge.{arm_id}"),
            trained=None if which == "base" else StageRef(stage=which),
            shots=shots,
            samples=samples,
            temperature=temperature,
            selection=selection,
            promotable=which in ("sft", "dpo"),
            model_from=None if choice is None else StageRef(stage=choice),
        )
        asking = {
            "endpoint": "engine",
            "model": model,
            "samples": samples,
            "temperature": temperature,
            "max_tokens": self.spec.answer_tokens,
            "seed": self.spec.seed,
            "prompt_rows": self.spec.prompt.rows,
            "style": self.spec.style.model_dump(),
            "shots": shots,
            "shots_from": ref("collect.train") if shots else None,
        }
        need = self.need if which in ("dpo", "control") else None
        after = [f"deploy.{which}"]
        if choice is not None:
            asking["model_from"] = ref(choice)
            need, after = Need(stage=choice, count="later", at_least=1), ["deploy.promoted"]
        arm = Arm(plan, asking, after=after, need=need)
        if samples == 1 and not selection:
            self.asked.append(arm)
        if self.builtin or selection:
            self._answer(arm)

    def _answer(self, arm: Arm) -> None:
        """The arm's answers to the built-in sets, or to the selection split."""
        plan = arm.plan
        self.arms.append(plan)
        dataset, rows = ("collect.train", "selection") if plan.selection else ("collect.test", "examples")
        limit = self.spec.sampling.questions if plan.samples > 1 else None
        source = Slices(stage=dataset, output=rows, count=rows, size=ANSWERED_PER_SHARD, limit=limit)
        self.answers.append(
            StagePlan(
                id=f"answer.{plan.id}",
                task="evaluation.answer_questions",
                source=source,
                after=arm.after,
                need=arm.need,
                params=arm.asking,
            )
        )

    def _score(self, more: list[str]) -> StagePlan:
        weak = self.spec.weak
        on_policy = weak.endpoint is None and weak.sft_first
        return StagePlan(
            id="report",
            task="evaluation.score",
            source=Fixed(shards=[{}]),
            after=[*(f"judge.{arm.id}" for arm in self.arms), *(one for one in more if one.startswith("judge."))],
            params={
                "arms": [arm.model_dump() for arm in self.arms],
                "tests": [ref("collect.test")] if self.builtin else [],
                **score_params(self.benchmarks, self.asked),
                "dataset": ref("collect.train"),
                "pairs": ref("collect.preferences"),
                "rounds": [plan.model_dump() for plan in self.rounds.plans],
                "minimum_pairs": self.spec.pairs.minimum,
                "followed": ref(PROFILE) if self.spec.strong.follow_errors else None,
                "on_policy": on_policy,
                "weak_model": weak.model or (self.names.model("sft") if on_policy else base_name(weak.base)),
                "seed": self.spec.seed,
            },
        )
