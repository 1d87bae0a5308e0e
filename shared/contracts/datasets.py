"""Datasets: benchmarks and question sets of users, stored once under a name and a hash of their content."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import ObjectRef, Owner
from shared.contracts.records import Outcome, Policy, is_empty

DATASET_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
DATASET_REF = re.compile(r"(?P<name>[a-z0-9][a-z0-9_.-]{0,63})(@(?P<version>[0-9a-f]{16}))?")
DATASET_SPLITS = ("train", "dev", "test")
DatasetFormat = Literal["spider", "spider-syn", "spider-dk", "spider-realistic", "bird", "bird-mini", "custom"]
DatasetSplit = Literal["train", "dev", "test"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DatasetModel(BaseModel):
    """Frozen, with known fields only."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GoldFault(DatasetModel):
    """A gold that cannot be answered rightly: `index` is its question's, `place` its file and line."""

    index: int
    database: str
    place: str
    outcome: Outcome
    message: str = ""


class GoldHealth(DatasetModel):
    """How the golds ran under `policy` in the sandbox before the dataset was stored.

    `failed` raised an error, `timeouts` ran past `deadline_s`, `capped` gave more than the sandbox reads: no answer to
    them can be right. `empty` gave no row, `clock` asked for the time, so that what is right changes with it, `shared`
    are groups of questions with one text, one database and different golds. Questions are named by their index.
    """

    policy: Policy
    deadline_s: float
    golds: int
    failed: list[GoldFault] = Field(default_factory=list)
    timeouts: list[GoldFault] = Field(default_factory=list)
    capped: list[GoldFault] = Field(default_factory=list)
    empty: list[int] = Field(default_factory=list)
    clock: list[int] = Field(default_factory=list, exclude_if=is_empty)
    shared: list[list[int]] = Field(default_factory=list)

    @property
    def unanswerable(self) -> int:
        return len(self.failed) + len(self.timeouts) + len(self.capped)

    @property
    def ceiling(self) -> float:
        """The best score that is possible, 0 to 1."""
        return 1 - self.unanswerable / self.golds if self.golds else 0.0


class DatasetHeader(DatasetModel):
    """What is said of a dataset beside its examples. `sources` are SHA-256 of the files it was read from.

    `policy` is the rule of its official score. `skipped`: questions left out by the database that is missing.
    """

    name: str = Field(pattern=DATASET_NAME)
    format: DatasetFormat
    policy: Policy
    licence: str = Field(default="none stated", max_length=500)
    release: str | None = Field(default=None, max_length=200, description="the published version, where it is known")
    sources: dict[str, Sha256] = Field(default_factory=dict)
    skipped: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list, max_length=100)
    health: GoldHealth | None = None


class DatasetManifest(DatasetHeader):
    """A stored dataset; written last. `version` is the hash of its examples and policy, 16 hex digits.

    `hardness` counts by split and level, `databases` maps names to ids. `created_at` in seconds since 1970.
    """

    version: str
    created_at: float
    questions: int
    splits: dict[str, int]
    hardness: dict[str, dict[str, int]]
    databases: dict[str, Sha256]
    examples: ObjectRef
    owner: Owner | None = None

    @property
    def ref(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"


def parse_dataset_ref(text: str) -> tuple[str, str | None]:
    """Name and version; the version is None where the text has none. Raises ValueError."""
    found = DATASET_REF.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no dataset: write NAME or NAME@VERSION, or builtin:held-out")
    return found["name"], found["version"]
