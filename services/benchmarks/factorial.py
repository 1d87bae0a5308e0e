"""The factorial experiment: {human, + strong, + weak, + both}, from two pipeline jobs for each seed.

A pipeline job trains SFT, then DPO and its control. With human data alone it gives the cells `human` (its SFT) and
`+ weak` (its DPO); with human and strong data together `+ strong` and `+ both`. Both jobs sample the weak model on the
human training questions, so that cells differ in one thing at a time.

The score of a question in a cell is its mean over the seeds: more seeds make it steadier and never count as more
questions. Intervals resample databases, which differ far more from each other than questions of one database do.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.evaluation.scoring.statistics import Estimate, clustered_mean
from shared.contracts.spec import SpecError, TrainSource, describe_fault, parse_spec

DataMix = Literal["human", "human+strong"]
DATA_MIXES: tuple[DataMix, ...] = ("human", "human+strong")
SET_BY_US = ("kind", "name", "seed", "train")
SEEDS_NEEDED = 5
RESAMPLES = 10_000
RESAMPLE_SEED = 20_240_806
Cell = tuple[DataMix, str]
CELLS: dict[str, Cell] = {
    "human": ("human", "sft"),
    "+ strong": ("human+strong", "sft"),
    "+ weak": ("human", "dpo"),
    "+ both": ("human+strong", "dpo"),
}
CONTROLS: dict[str, Cell] = {
    "human, control of + weak": ("human", "control"),
    "+ strong, control of + both": ("human+strong", "control"),
}
# What is compared, the cell and its reference, and whether it decides about DPO.
CONTRASTS: tuple[tuple[str, Cell, Cell, bool], ...] = (
    ("strong data (SFT)", ("human+strong", "sft"), ("human", "sft"), False),
    ("DPO over its control, human data", ("human", "dpo"), ("human", "control"), True),
    ("DPO over its control, human + strong data", ("human+strong", "dpo"), ("human+strong", "control"), True),
)
# (mix, arm) -> seed -> (test set, question) -> (database, 0 or 1)
Scores = Mapping[Cell, Mapping[int, Mapping[tuple[str, str], tuple[str, int]]]]


class ExperimentSpec(BaseModel):
    """Where human and strong data come from, the seeds, and what all jobs have in common (`pipeline`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="factorial", min_length=1, max_length=40, pattern=r"^[\w .:@+-]+$")
    human: list[TrainSource] = Field(min_length=1)
    strong: list[TrainSource] = Field(min_length=1)
    seeds: list[int] = Field(default=[1, 2, 3, 4, 5], min_length=1)
    pipeline: dict[str, Any] = Field(default_factory=dict)

    @field_validator("seeds")
    @classmethod
    def check_seeds(cls, seeds: list[int]) -> list[int]:
        """A repeated seed would count one run twice."""
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @field_validator("pipeline")
    @classmethod
    def check_pipeline(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Raises ValueError for fields that the experiment itself sets."""
        if taken := [name for name in SET_BY_US if name in fields]:
            raise ValueError(f"the experiment sets {', '.join(taken)} itself; leave it out of `pipeline`")
        return fields


class PlannedJob(NamedTuple):
    """One job to submit; its `key` finds it again."""

    mix: DataMix
    seed: int
    spec: dict[str, Any]
    key: str


def read_experiment(data: object) -> ExperimentSpec:
    """Raises `SpecError` with all faults."""
    try:
        return ExperimentSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError([describe_fault(fault) for fault in error.errors(include_url=False)]) from error


def plan_jobs(experiment: ExperimentSpec) -> Iterator[PlannedJob]:
    """Every job, seed by seed. Raises `SpecError` where one of them would be refused."""
    human = [source.model_dump(mode="json") for source in experiment.human]
    strong = [source.model_dump(mode="json") for source in experiment.strong]
    digest = hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()[:16]
    for seed in experiment.seeds:
        for mix in DATA_MIXES:
            train = {"sft": human + (strong if mix != "human" else []), "pairs": human}
            ours = {"kind": "pipeline", "name": f"{experiment.name} {mix} seed {seed}", "seed": seed, "train": train}
            spec = {**experiment.pipeline, **ours}
            parse_spec(spec)
            # The key follows from spec, mix and seed, so a repeated command finds its jobs again.
            yield PlannedJob(mix, seed, spec, f"experiment-{digest}-{mix}-{seed}")


class CellScore(BaseModel):
    """Execution accuracy of a cell on a test set, over questions and seeds; None without answers."""

    model_config = ConfigDict(frozen=True)

    set: str
    cell: str
    seeds: int
    accuracy: float | None


class Contrast(BaseModel):
    """A paired difference in accuracy; `by_seed` holds it for each seed.

    `smallest_effect` is what this size would show eight times in ten.
    """

    model_config = ConfigDict(frozen=True)

    set: str
    name: str
    decides: bool
    seeds: int
    questions: int
    databases: int
    mean: float
    low: float | None
    high: float | None
    smallest_effect: float | None
    by_seed: list[float]
    verdict: str


def read_scores(lines: Iterable[Mapping[str, Any]]) -> dict[str, dict[tuple[str, str], tuple[str, int]]]:
    """Per-question lines of a report as arm -> question -> (database, `ex` of the greedy answer)."""
    found: dict[str, dict[tuple[str, str], tuple[str, int]]] = defaultdict(dict)
    for line in lines:
        if not line["scored"]:
            continue
        for arm, answers in line["arms"].items():
            if answers:
                found[arm][line["set"], line["example_id"]] = (line["db_id"], int(answers[0]["ex"]))
    return dict(found)


def cell_scores(scores: Scores) -> list[CellScore]:
    found = []
    for name in set_names(scores):
        for title, cell in (CELLS | CONTROLS).items():
            seeds = scores.get(cell, {})
            values = [ex for rows in seeds.values() for (where, _), (_, ex) in rows.items() if where == name]
            accuracy = sum(values) / len(values) if values else None
            found.append(CellScore(set=name, cell=title, seeds=len(seeds), accuracy=accuracy))
    return found


def contrasts(scores: Scores) -> list[Contrast]:
    found = (
        contrast(scores, name, title, cell, other, decides)
        for name in set_names(scores)
        for title, cell, other, decides in CONTRASTS
    )
    return [one for one in found if one is not None]


def contrast(scores: Scores, set_name: str, title: str, cell: Cell, other: Cell, decides: bool) -> Contrast | None:
    differences: dict[tuple[str, str], list[int]] = defaultdict(list)
    database: dict[tuple[str, str], str] = {}
    by_seed: list[float] = []
    for seed in sorted(set(scores.get(cell, {})) & set(scores.get(other, {}))):
        answers, reference = scores[cell][seed], scores[other][seed]
        both = [key for key in answers if key in reference and key[0] == set_name]
        if not both:
            continue
        change = {key: answers[key][1] - reference[key][1] for key in both}
        by_seed.append(sum(change.values()) / len(change))
        for key, difference in change.items():
            differences[key].append(difference)
            database[key] = answers[key][0]
    clusters: dict[str, list[float]] = defaultdict(list)
    for key, values in differences.items():
        # A question counts once, with its mean over the seeds.
        clusters[database[key]].append(sum(values) / len(values))
    estimate = clustered_mean(clusters, RESAMPLES, RESAMPLE_SEED)
    if estimate is None:
        return None
    return Contrast(
        set=set_name,
        name=title,
        decides=decides,
        seeds=len(by_seed),
        questions=len(differences),
        databases=estimate.clusters,
        mean=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        smallest_effect=estimate.smallest_effect(),
        by_seed=by_seed,
        verdict=credit_verdict(estimate, len(by_seed)),
    )


def credit_verdict(estimate: Estimate, seeds: int) -> str:
    """Credit needs five seeds and an interval without zero; otherwise the text names the smallest visible effect."""
    if seeds >= SEEDS_NEEDED and estimate.holds_zero() is False:
        return "an improvement" if estimate.mean > 0 else "harm"
    smallest = estimate.smallest_effect()
    size = f"; the smallest effect it could have seen: {100 * smallest:.1f} points" if smallest else ""
    few = f" ({seeds} of the {SEEDS_NEEDED} seeds that credit needs)" if seeds < SEEDS_NEEDED else ""
    return f"no effect shown at this size{few}{size}"


def set_names(scores: Scores) -> list[str]:
    names: dict[str, None] = {}
    for seeds in scores.values():
        for rows in seeds.values():
            names.update(dict.fromkeys(where for where, _ in rows))
    return list(names)
