"""Weak data: sampling candidates, choosing pairs, collecting them for training."""

from typing import Literal

from pydantic import Field

from shared.contracts.base import Command, Counts, Queue, TaskContract
from shared.contracts.refs import ObjectRef, Slice, StageRef

PairPolicy = Literal["one_per_question"]


class SampleCandidates(Command):
    """Asks the weak model for `samples` answers a question."""

    examples: ObjectRef | Slice
    endpoint: str
    model: str
    samples: int = Field(ge=2, le=64)
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 128
    seed: int = 0
    prompt_rows: int = 3
    budget_usd: float | None = None


class SampledCounts(Counts):
    """Answers sampled, and those without any SQL in them."""

    questions: int
    candidates: int
    unextractable: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int = 0


class BuildPairs(Command):
    """Chooses pairs among one shard's judged candidates."""

    judged: ObjectRef
    policy: PairPolicy = "one_per_question"
    seed: int = 0


class PairCounts(Counts):
    """Pairs, and the questions without one by reason."""

    questions: int
    pairs: int
    all_correct: int = 0
    none_correct: int = 0
    excluded_gold: int = 0


class CollectPairs(Command):
    """Reads pair shards in order, refuses what is not in the dataset, and writes `dpo` and the control's `chosen`."""

    pairs: StageRef
    dataset: StageRef
    limit: int | None = None
    prompt_rows: int = 3


class CollectedPairCounts(Counts):
    """`outside` counts pairs whose example the dataset left out, `duplicates` equal pairs."""

    pairs: int
    outside: int
    duplicates: int


SAMPLE_CANDIDATES = TaskContract(
    name="pairing.sample_candidates",
    queue=Queue.PAIRING,
    command=SampleCandidates,
    fact="candidates.sampled",
    counts=SampledCounts,
    outputs=("candidates", "examples"),
    hard_limit_s=3600,
    max_attempts=3,
)
BUILD_PAIRS = TaskContract(
    name="pairing.build_pairs",
    queue=Queue.PAIRING,
    command=BuildPairs,
    fact="pairs.built",
    counts=PairCounts,
    outputs=("pairs",),
    hard_limit_s=900,
    max_attempts=3,
)
COLLECT_PAIRS = TaskContract(
    name="pairing.collect",
    queue=Queue.PAIRING,
    command=CollectPairs,
    fact="pairs.collected",
    counts=CollectedPairCounts,
    outputs=("dpo", "chosen", "pairs"),
    hard_limit_s=3600,
    max_attempts=3,
)
