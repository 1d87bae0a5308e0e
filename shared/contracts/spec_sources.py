"""Where a job's examples and questions come from: what is written, stored data sets, databases, test sets."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from shared.contracts.datasets import DatasetSplit, Sha256, split_ref
from shared.contracts.records import Level, Policy

BUILTIN_TESTS = ("builtin:held-out", "builtin:handwritten")
SYNTHESIS_TAG, DATASET_TAG = "<synthesis>", "<dataset>"


# Nothing in a spec is without bounds: it becomes stages, rows and requests, which others' jobs share the machine with.
MOST_SOURCES, MOST_TESTS = 32, 16
Amount = Annotated[int, Field(ge=1, le=10_000_000)]
Tokens = Annotated[int, Field(ge=1, le=10**15)]
Dollars = Annotated[float, Field(gt=0, le=10**6)]


class SpecPart(BaseModel):
    """A section of a spec; an unknown field is an error, and so is a text that no name or reference needs."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=500, allow_inf_nan=False)


def default_levels() -> dict[Level, float]:
    """The shares of the demo: a small model learns little from many hard examples."""
    return {"easy": 0.5, "medium": 0.35, "hard": 0.15}


class SynthesisSource(SpecPart):
    """`synthesis` examples written at the shares of `levels`, `per_shard` at a time (default: by the writer).

    `user_database_share` of them is for the spec's `databases`, half where it is not said; the rest is cross-domain.
    """

    synthesis: int = Field(default=320, ge=4, le=1_000_000)
    levels: dict[Level, Annotated[float, Field(ge=0, le=1_000_000)]] = Field(default_factory=default_levels)
    per_shard: int | None = Field(default=None, ge=1, le=1000)
    user_database_share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def check_levels(self) -> "SynthesisSource":
        """At least one level has a share."""
        if sum(self.levels.values()) <= 0:
            raise ValueError("levels need at least one share above zero, e.g. {easy: 0.5, medium: 0.35, hard: 0.15}")
        return self


def checked_ref(text: str) -> str:
    """NAME or NAME@VERSION. Raises ValueError."""
    split_ref(text)
    return text


class DatasetSource(SpecPart):
    """A stored data set: a share `weight` of a split (default `train`), at most `questions` of it."""

    dataset: str = Field(description="NAME, its newest version; or NAME@VERSION")
    split: DatasetSplit | None = None
    weight: float = Field(default=1.0, gt=0, le=1)
    questions: Amount | None = None

    _check_dataset = field_validator("dataset")(checked_ref)


def source_kind(value: object) -> str:
    """Which of the two a source is meant to be."""
    named = isinstance(value, DatasetSource) or (isinstance(value, dict) and "dataset" in value)
    return DATASET_TAG if named else SYNTHESIS_TAG


TrainSource = Annotated[
    Annotated[SynthesisSource, Tag(SYNTHESIS_TAG)] | Annotated[DatasetSource, Tag(DATASET_TAG)],
    Discriminator(source_kind),
]


def default_sources() -> list[SynthesisSource | DatasetSource]:
    """Synthesis alone."""
    return [SynthesisSource()]


class TrainSources(SpecPart):
    """Where training data comes from; `pairs` is where the weak model is sampled, by default the same as `sft`."""

    sft: list[TrainSource] = Field(default_factory=default_sources, min_length=1, max_length=MOST_SOURCES)
    pairs: list[TrainSource] | None = Field(default=None, min_length=1, max_length=MOST_SOURCES)


class SeedSource(SpecPart):
    """A stored data set whose examples the strong model is shown, two a call, in place of our own."""

    dataset: str = Field(description="NAME, its newest version; or NAME@VERSION")
    split: DatasetSplit | None = None

    _check_dataset = field_validator("dataset")(checked_ref)


class OwnDatabase(SpecPart):
    """A database of the user's, by its id: `sense databases add FILE` prints it, `sense submit` fills it in."""

    id: Sha256


class TestSet(SpecPart):
    """A test set: scored once an arm, refused by every training export.

    `dataset` is builtin:held-out, builtin:handwritten, or a stored data set. Of a stored one, `split` is by default
    `dev`, else `test`; `policy` is its official one and `strict` stands beside it; with `samples` above 1 answers are
    drawn at `temperature` (default 1).
    """

    __test__ = False

    dataset: str
    split: DatasetSplit | None = None
    questions: Amount | None = None
    metrics: list[Literal["ex"]] = Field(
        default=["ex"], min_length=1, max_length=8, description="execution accuracy, so far"
    )
    policy: Policy | None = None
    samples: int = Field(default=1, ge=1, le=64)
    temperature: float | None = Field(default=None, gt=0, le=2)

    @property
    def builtin(self) -> bool:
        """Whether it is one of ours."""
        return self.dataset in BUILTIN_TESTS

    @field_validator("dataset")
    @classmethod
    def check_dataset(cls, text: str) -> str:
        """A built-in name, or the name of a data set."""
        return text if text in BUILTIN_TESTS else checked_ref(text)

    @model_validator(mode="after")
    def check_asking(self) -> "TestSet":
        """The built-in sets are asked greedily, by their own rules."""
        if self.builtin and (self.samples > 1 or self.temperature or self.split or self.policy):
            raise ValueError("a built-in set takes `questions` only; sampling and policies are for data sets")
        if self.samples == 1 and self.temperature:
            raise ValueError("a temperature needs `samples` above 1: one answer is greedy")
        return self


def default_tests() -> list[TestSet]:
    """Both built-in sets: unseen domains by template, and questions written by hand."""
    return [TestSet(dataset="builtin:held-out", questions=132), TestSet(dataset="builtin:handwritten")]


class Selection(SpecPart):
    """The selection split: decides promotion, never reported as a test score."""

    questions: Amount = 40


class Sampling(SpecPart):
    """Answers at temperature 1 for the sampled rows of the report."""

    questions: int = Field(default=40, ge=0, le=10_000_000)
    samples: int = Field(default=8, ge=2, le=64)
