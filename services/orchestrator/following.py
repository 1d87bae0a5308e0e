"""A second wave of synthesis that follows the weak model's errors: measured on the first wave, before any set is final.

The first wave is collected, the weak model is asked some of its questions (after an SFT of its own on that wave, where
it is fine-tuned first), and what it gets wrong becomes wishes for the writer. What is written then is verified and
collected together with the first wave: everything downstream reads one larger set and is planned as without a wave.
"""

from services.orchestrator.fragments import (
    base_name,
    collected,
    deployed,
    judged,
    ref,
    released,
    sampling_params,
    synthesised,
    trained,
    writer_params,
)
from services.orchestrator.sizes import SAMPLED_PER_SHARD
from services.orchestrator.sweep import parts_of
from shared.contracts.spec import PipelineSpec
from shared.contracts.spec_sources import SynthesisSource
from shared.jobs.plan import Fixed, Slices, StagePlan

FIRST = "collect.first"
PROFILE = "profile.errors"
WAVE = "errors"
WEAK_SHARE = 0.25  # of the weak model's budget: its first answers, which are recorded and not bought again
WAVE_SEED = 7_000_003


def wave_size(spec: PipelineSpec) -> int:
    """Examples of the second wave; 0 where there is none."""
    if not spec.strong.follow_errors:
        return 0
    first = sum(one.synthesis for one in spec.train.sft if isinstance(one, SynthesisSource))
    return max(1, round(spec.strong.follow_errors * first))


def without_wave(spec: PipelineSpec) -> PipelineSpec:
    """The spec with what the wave leaves of the budgets, for everything but the wave."""
    if not spec.strong.follow_errors:
        return spec
    strong = parts_of(spec.strong, 1 / (1 + spec.strong.follow_errors))
    weak = parts_of(spec.weak, 1 - WEAK_SHARE)
    return spec.model_copy(
        update={"strong": spec.strong.model_copy(update=strong), "weak": spec.weak.model_copy(update=weak)}
    )


class Wave:
    """The stages of the second wave; `model` is the name of the weak model that is fine-tuned for it."""

    def __init__(self, spec: PipelineSpec, model: str, device: str, refuse: list[str]) -> None:
        self.spec = spec
        self.model = model
        self.device = device
        self.refuse = refuse
        self.source = next(one for one in spec.train.sft if isinstance(one, SynthesisSource))

    def stages(self, ready: list[str]) -> list[StagePlan]:
        """Everything between the first wave's stages, `ready`, and the set that both are collected into."""
        spec = self.spec
        first = collected(
            "first",
            ready,
            refuse=self.refuse,
            limit=None,
            rows=spec.prompt.rows,
            style=spec.style,
            given=spec.own_ids,
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
            return [self._deploy(base_name(weak.base), weak.base, adapter=False, after=[FIRST])]
        release = released("release.first", [FIRST], self.device)
        sft = trained(
            "sft.weak",
            method="sft",
            recipe="sft",
            model=self.model,
            student=self.spec.student,
            data=ref(FIRST),
            output="sft",
            settings=self.spec.sft.model_copy(update={"score_steps": None}),  # no question is set aside yet
            seed=self.spec.seed,
            after=[FIRST, release.id],
            device=self.device,
        )
        return [release, sft, self._deploy(self.model, self.spec.student.base, adapter=True, after=["sft.weak"])]

    def _deploy(self, model: str, base: str, *, adapter: bool, after: list[str]) -> StagePlan:
        return deployed("deploy.errors", model=model, base=base, adapter=adapter, after=after, device=self.device)

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
                stage=FIRST,
                output="examples",
                count="examples",
                size=SAMPLED_PER_SHARD,
                limit=self.spec.strong.follow_questions,
            ),
            after=["deploy.errors"] if self.served_here else [],
            params={**asking, **parts_of(weak, WEAK_SHARE)},
        )
        release = [released("release.errors", ["sample.errors"], self.device)] if self.served_here else []
        profile = StagePlan(
            id=PROFILE,
            task="pairing.profile_errors",
            source=Fixed(shards=[{}]),
            after=["judge.errors"],
            params={
                "judged": ref("judge.errors"),
                "asked": ref("sample.errors"),
                "levels": dict(self.source.levels),
            },
        )
        return [sample, *release, judged("judge.errors", "sample.errors", {"official": True}), profile]

    def _written(self) -> list[StagePlan]:
        """The second wave, written to the wishes and verified like the first.

        All writing stages of a job draw on one ledger: what the first wave was given counts against the whole budget,
        and what it left over is the second one's too. Judges of examples have a budget each.
        """
        spec, strong = self.spec, self.spec.strong
        share = strong.follow_errors / (1 + strong.follow_errors)
        write, *checks = synthesised(
            WAVE,
            self.source,
            strong.model_copy(update=parts_of(strong, share)),
            split="train",
            amount=wave_size(spec),
            seed=spec.seed + WAVE_SEED,
            target=spec.target,
            databases=spec.own_ids,
        )
        params = {**write.params, **writer_params(strong), "wishes": ref(PROFILE)}
        return [write.model_copy(update={"after": [PROFILE], "params": params}), *checks]
