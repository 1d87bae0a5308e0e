"""The whole of the paper as a plan: strong data, SFT, weak data, DPO, serving, report."""

from dataclasses import dataclass

from services.orchestrator.fragments import (
    base_name,
    collected,
    deployed,
    judged,
    ref,
    released,
    sampling_params,
    synthesised,
    test_sets,
    trained,
)
from shared.contracts.evaluation import ArmPlan
from shared.contracts.refs import StageRef
from shared.contracts.spec import PairingSpec, PipelineSpec, SynthesisSpec
from shared.jobs.plan import Each, Fixed, Need, Plan, Slices, StagePlan

SAMPLE_QUESTIONS_PER_SHARD = 24
ANSWER_QUESTIONS_PER_SHARD = 48
SELECTION_SEED_OFFSET = 1_000_003
TEST_SEED = 20_240_806
ANSWER_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Names:
    """The immutable names of one job's models, and the device they share."""

    prefix: str
    base: str
    device: str

    def model(self, stage: str) -> str:
        """A model of this job."""
        return f"{self.prefix}-{stage}"


def name_models(job_id: str, base: str, device: str) -> Names:
    """Names hold the base and the job, so that none is ever used twice."""
    short = base_name(base)
    return Names(prefix=f"{short}-{job_id[:8]}", base=short, device=device)


def synthesis_stages(spec: PipelineSpec | PairingSpec | SynthesisSpec, refuse: list[str]) -> list[StagePlan]:
    """Written, verified and collected training examples, with the selection split where the job promotes."""
    stages: list[StagePlan] = []
    verified: list[str] = []
    for number, source in enumerate(spec.train.sft):
        name = f"train{number or ''}"
        seed = spec.seed + number
        stages += synthesised(name, source, spec.strong, split="train", amount=source.synthesis, seed=seed)
        verified.append(f"verify.{name}")
    if isinstance(spec, PipelineSpec):
        source, seed = spec.train.sft[0], spec.seed + SELECTION_SEED_OFFSET
        amount = spec.selection.questions
        stages += synthesised("selection", source, spec.strong, split="selection", amount=amount, seed=seed)
        verified.append("verify.selection")
    total = sum(source.synthesis for source in spec.train.sft)
    stages.append(collected("train", verified, refuse=refuse, limit=total, rows=spec.prompt.rows))
    return stages


def pair_source(spec: PipelineSpec | PairingSpec, refuse: list[str]) -> tuple[list[StagePlan], str | None, str]:
    """Where the weak model is sampled: the stages to add, the one verified stage (None: several), the collected one."""
    if spec.train.pairs is None:
        return [], "verify.train" if len(spec.train.sft) == 1 else None, "collect.train"
    stages: list[StagePlan] = []
    verified: list[str] = []
    for number, source in enumerate(spec.train.pairs):
        name, seed = f"pairs{number or ''}", spec.seed + 2 * SELECTION_SEED_OFFSET + number
        stages += synthesised(name, source, spec.strong, split="train", amount=source.synthesis, seed=seed)
        verified.append(f"verify.{name}")
    total = sum(source.synthesis for source in spec.train.pairs)
    stages.append(collected("pairs", verified, refuse=refuse, limit=total, rows=spec.prompt.rows))
    return stages, verified[0] if len(verified) == 1 else None, "collect.pairs"


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
        params = sampling_params(weak, weak.endpoint, weak.model, spec.seed, rows)
        after: list[str] = []
    else:
        model = names.model("sft") if weak.sft_first else base_name(weak.base)
        ready = ["sft"] if weak.sft_first else []
        stages.append(
            deployed(
                "deploy.weak",
                model=model,
                base=spec.student.base if weak.sft_first else weak.base,
                adapter=weak.sft_first,
                after=ready,
                device=names.device,
            )
        )
        params = sampling_params(weak, "engine", model, spec.seed, rows)
        after = ["deploy.weak"]
    fine_tuned = "sft" in [name for stage in stages for name in stage.after]
    source: Each | Slices
    if verified is not None and weak.questions is None and not fine_tuned:
        source = Each(stage=verified, fields={"examples": "examples"})
    else:
        source = Slices(
            stage=dataset,
            output="examples",
            count="examples",
            size=SAMPLE_QUESTIONS_PER_SHARD,
            limit=weak.questions,
        )
    stages.append(StagePlan(id="sample", task="pairing.sample_candidates", source=source, after=after, params=params))
    stages.append(judged("judge", "sample"))
    pairs = StagePlan(
        id="pair",
        task="pairing.build_pairs",
        source=Each(stage="judge", fields={"judged": "judged"}),
        params={"policy": spec.pairs.policy, "seed": spec.seed},
    )
    collect = StagePlan(
        id="collect.preferences",
        task="pairing.collect",
        source=Fixed(shards=[{}]),
        after=["pair", dataset],
        params={"pairs": ref("pair"), "dataset": ref(dataset), "limit": spec.pairs.limit, "prompt_rows": rows},
    )
    stages += [pairs, collect]
    if after:
        stages.append(released("release.weak", ["sample"], names.device))
    return stages


def preference_stages(spec: PipelineSpec, names: Names, sampled_here: bool) -> list[StagePlan]:
    """DPO from the SFT model, and its control: SFT continued on the same chosen SQL for the same steps."""
    need = Need(stage="collect.preferences", count="pairs", at_least=spec.pairs.minimum)
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
    names = name_models(job_id, spec.student.base, device)
    refuse = ["collect.test"]
    stages = test_sets(spec.evaluate, TEST_SEED, spec.prompt.rows)
    stages += synthesis_stages(spec, refuse)
    more, verified, dataset = pair_source(spec, refuse)
    stages += more
    stages += sft_stages(spec, names)
    stages += weak_stages(spec, names, verified, dataset)
    sampled_here = spec.weak.endpoint is None
    stages += preference_stages(spec, names, sampled_here)
    stages += Arms(spec, names).stages()
    return Plan(stages=stages, lost_allowed=spec.lost_allowed)


class Arms:
    """The rows of the report and the stages that answer, judge and score them."""

    def __init__(self, spec: PipelineSpec, names: Names) -> None:
        self.spec = spec
        self.names = names
        self.need = Need(stage="collect.preferences", count="pairs", at_least=spec.pairs.minimum)
        self.arms: list[ArmPlan] = []
        self.answers: list[StagePlan] = []

    def stages(self) -> list[StagePlan]:
        """Deploys all models, asks them, scores, and keeps them served."""
        trainings = ["sft", "dpo", "control"]
        deploys = [
            self._deploy("base", trainings),
            self._deploy("sft", trainings),
            self._deploy("dpo", trainings),
            self._deploy("control", trainings),
        ]
        self._add_arms()
        judgings = [judged(f"judge.{arm.id}", f"answer.{arm.id}") for arm in self.arms]
        return [*deploys, *self.answers, *judgings, self._score()]

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
            self._arm(f"{which}.selection", f"{title}, selection split", which, selection=True)
        if self.spec.sampling.questions:
            for which, title in (("sft", "SFT, sampled"), ("dpo", "DPO, sampled")):
                self._arm(f"{which}.sampled", title, which, samples=self.spec.sampling.samples)

    def _arm(
        self, arm_id: str, title: str, which: str, *, shots: int = 0, samples: int = 1, selection: bool = False
    ) -> None:
        model = self.names.base if which == "base" else self.names.model(which)
        temperature = 1.0 if samples > 1 else 0.0
        self.arms.append(
            ArmPlan(
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
            )
        )
        params = {
            "endpoint": "engine",
            "model": model,
            "samples": samples,
            "temperature": temperature,
            "max_tokens": self.spec.answer_tokens,
            "seed": self.spec.seed,
            "prompt_rows": self.spec.prompt.rows,
            "shots": shots,
            "shots_from": ref("collect.train") if shots else None,
        }
        dataset, rows = ("collect.train", "selection") if selection else ("collect.test", "examples")
        limit = self.spec.sampling.questions if samples > 1 else None
        source = Slices(stage=dataset, output=rows, count=rows, size=ANSWER_QUESTIONS_PER_SHARD, limit=limit)
        self.answers.append(
            StagePlan(
                id=f"answer.{arm_id}",
                task="evaluation.answer_questions",
                source=source,
                after=[f"deploy.{which}"],
                need=self.need if which in ("dpo", "control") else None,
                params=params,
            )
        )

    def _score(self) -> StagePlan:
        weak = self.spec.weak
        on_policy = weak.endpoint is None and weak.sft_first
        return StagePlan(
            id="report",
            task="evaluation.score",
            source=Fixed(shards=[{}]),
            after=[f"judge.{arm.id}" for arm in self.arms],
            params={
                "arms": [arm.model_dump() for arm in self.arms],
                "tests": [ref("collect.test")],
                "dataset": ref("collect.train"),
                "pairs": ref("collect.preferences"),
                "on_policy": on_policy,
                "weak_model": weak.model or (self.names.model("sft") if on_policy else base_name(weak.base)),
                "seed": self.spec.seed,
            },
        )
