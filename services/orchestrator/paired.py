"""From sampled answers to a collected set of pairs: the stages of any round."""

from services.orchestrator.fragments import judged, ref
from shared.contracts.spec import PairingSpec, PipelineSpec
from shared.contracts.training import PRESET_LENGTHS
from shared.jobs.plan import Each, Fixed, Need, StagePlan


def pair_stages(spec: PipelineSpec | PairingSpec, dataset: str, seed: int, number: int = 1) -> list[StagePlan]:
    """Judging, pairing and collecting of what the round's `sample` stage leaves."""
    suffix = "" if number == 1 else f".r{number}"
    judging = {"neighbours": spec.pairs.neighbours, "official": True, "programs": True}
    pairs = StagePlan(
        id=f"pair{suffix}",
        task="pairing.build_pairs",
        source=Each(stage=f"judge{suffix}", fields={"judged": "judged"}),
        params={
            "policy": spec.pairs.policy,
            "seed": seed,
            "per_question": spec.pairs.per_question,
            "length_ratio": spec.pairs.length_ratio,
        },
    )
    collect = StagePlan(
        id=f"collect.preferences{suffix}",
        task="pairing.collect",
        source=Fixed(shards=[{}]),
        after=[pairs.id, dataset],
        params={
            "pairs": ref(pairs.id),
            "dataset": ref(dataset),
            "limit": spec.pairs.limit,
            "prompt_rows": spec.prompt.rows,
            "style": spec.style.model_dump(),
            "seed": seed,
            "max_length": trained_length(spec),
            "syntax_share": spec.pairs.syntax_share,
        },
    )
    return [judged(f"judge{suffix}", f"sample{suffix}", judging), pairs, collect]


def pairs_needed(spec: PipelineSpec, number: int = 1) -> Need:
    """Without so many pairs nothing of a round is trained, deployed or scored."""
    stage = "collect.preferences" if number == 1 else f"collect.preferences.r{number}"
    return Need(stage=stage, count="pairs", at_least=spec.pairs.minimum)


def trained_length(spec: PipelineSpec | PairingSpec) -> int | None:
    """Tokens that the trainer of these pairs takes; None where no one has said."""
    if spec.pairs.max_length is not None or not isinstance(spec, PipelineSpec):
        return spec.pairs.max_length
    return spec.dpo.max_length or PRESET_LENGTHS.get(spec.dpo.preset)
