"""Temperatures tried on a few questions before the weak model is sampled on all of them."""

from typing import Any

from services.orchestrator.fragments import judged, ref
from services.orchestrator.sizes import SAMPLED_PER_SHARD
from shared.contracts.spec_models import StrongModel, WeakModel
from shared.jobs.plan import Fixed, Slices, StagePlan

BUDGET_SHARE = 0.1  # of the weak model's budget, for each temperature
CHOICE = "sweep"


def sweep_stages(weak: WeakModel, asking: dict[str, Any], dataset: str, after: list[str]) -> list[StagePlan]:
    """A sampling and a judging stage a temperature, on the same questions, and the choice.

    Verdicts are those that pairs need, without neighbours: it is the share of questions with both that is compared.
    """
    stages: list[StagePlan] = []
    judgings: list[str] = []
    for number, temperature in enumerate(weak.sweep or [], start=1):
        source = Slices(
            stage=dataset,
            output="examples",
            count="examples",
            size=SAMPLED_PER_SHARD,
            limit=min(weak.sweep_questions, weak.questions or weak.sweep_questions),
        )
        params = {**asking, "temperature": temperature, **parts_of(weak, BUDGET_SHARE)}
        name = f"sample.{CHOICE}-{number}"
        stages.append(StagePlan(id=name, task="pairing.sample_candidates", source=source, after=after, params=params))
        stages.append(judged(f"judge.{CHOICE}-{number}", name, {"official": True}))
        judgings.append(stages[-1].id)
    params = {"temperatures": list(weak.sweep or []), "judged": [ref(stage) for stage in judgings]}
    stages.append(
        StagePlan(
            id=CHOICE,
            task="pairing.choose_temperature",
            source=Fixed(shards=[{}]),
            after=judgings,
            params=params,
        )
    )
    return stages


def after_sweep(weak: WeakModel, asking: dict[str, Any]) -> dict[str, Any]:
    """How all questions are asked then, with what the tries leave of the budget."""
    left = 1 - BUDGET_SHARE * len(weak.sweep or [])
    return {**asking, "chosen": ref(CHOICE), **parts_of(weak, left)}


def parts_of(model: StrongModel | WeakModel, share: float) -> dict[str, Any]:
    """A share of the budgets, where there are any."""
    usd, tokens = model.budget_usd, model.budget_tokens
    return {
        "budget_usd": None if usd is None else usd * share,
        "budget_tokens": None if tokens is None else int(tokens * share),
    }
