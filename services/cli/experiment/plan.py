"""The factorial experiment as pipeline jobs: {human, + strong, + weak, + both} from two jobs a seed.

A pipeline job trains SFT, then DPO and its control from it. With human data alone it gives the cells `human` (its SFT)
and `+ weak` (its DPO); with human and strong data together `+ strong` and `+ both`. The weak model is sampled on the
human training questions in both, so that the cells differ in one thing at a time.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shared.contracts.spec import SpecError, describe, parse_spec
from shared.contracts.spec_sources import TrainSource

Diet = Literal["human", "human+strong"]
DIETS: tuple[Diet, ...] = ("human", "human+strong")
SET_BY_US = ("kind", "name", "seed", "train")
SEEDS_NEEDED = 5


class ExperimentSpec(BaseModel):
    """One file: where human and strong data come from, the seeds, and what every job has in common (`pipeline`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="factorial", min_length=1, max_length=40, pattern=r"^[\w .:@+-]+$")
    human: list[TrainSource] = Field(min_length=1)
    strong: list[TrainSource] = Field(min_length=1)
    seeds: list[int] = Field(default=[1, 2, 3, 4, 5], min_length=1)
    pipeline: dict[str, Any] = Field(default_factory=dict)

    @field_validator("seeds")
    @classmethod
    def check_seeds(cls, seeds: list[int]) -> list[int]:
        """A seed that stands twice would count one run as two."""
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @field_validator("pipeline")
    @classmethod
    def check_pipeline(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The cells decide about these."""
        if taken := [name for name in SET_BY_US if name in fields]:
            raise ValueError(f"the experiment sets {', '.join(taken)} itself; leave it out of `pipeline`")
        return fields


class JobPlan(NamedTuple):
    """One job to submit; the same `key` finds it again."""

    diet: Diet
    seed: int
    spec: dict[str, Any]
    key: str


def read_experiment(data: object) -> ExperimentSpec:
    """The typed experiment. Raises `SpecError` with all faults."""
    try:
        return ExperimentSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError([describe(fault) for fault in error.errors(include_url=False)]) from error


def plan_jobs(experiment: ExperimentSpec) -> Iterator[JobPlan]:
    """Every job, seed by seed. Raises `SpecError` where one of them would be refused."""
    human = [source.model_dump(mode="json") for source in experiment.human]
    strong = [source.model_dump(mode="json") for source in experiment.strong]
    digest = hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()[:16]
    for seed in experiment.seeds:
        for diet in DIETS:
            train = {"sft": human + (strong if diet != "human" else []), "pairs": human}
            own = {"kind": "pipeline", "name": f"{experiment.name} {diet} seed {seed}", "seed": seed, "train": train}
            spec = {**experiment.pipeline, **own}
            parse_spec(spec)
            yield JobPlan(diet, seed, spec, f"experiment-{digest}-{diet}-{seed}")
