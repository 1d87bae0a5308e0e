"""What a collection holds already: read from completed waves only, so that the same answers give the same prompts.

A wave begins when the one before is terminal, so its shards all see the same; what runs beside them is never read.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from services.synthesis.writers.seeds import RecentCache
from shared.contracts.base import ObjectRef
from shared.contracts.records import Example
from shared.contracts.synthesis import WriteExamples
from shared.jobs.state import ShardState
from shared.jobs.store import JobStore
from shared.storage.records import read_records
from shared.storage.store import ObjectStore
from shared.tasks.task import Shard

SHARDS_READ = 40  # evenly spread over the completed ones: what is common shows in a sample, however large the job
MAX_DOMAINS = 40  # domains that a prompt lists at most
T = TypeVar("T")


@dataclass(frozen=True)
class History:
    """Accepted examples by domain (as it is compared), and questions by database."""

    domains: Counter[str] = field(default_factory=Counter)
    questions: dict[str, list[str]] = field(default_factory=dict)

    def common(self, most: int = MAX_DOMAINS) -> list[str]:
        """The most frequent domains first, equal ones by name."""
        ranked = sorted(self.domains.items(), key=lambda item: (-item[1], item[0]))
        return [name for name, _ in ranked[:most]]


EMPTY_HISTORY = History()
HISTORIES: RecentCache[History] = RecentCache(4)
WAVE_REFS: RecentCache[tuple[ObjectRef, ...]] = RecentCache(8)


def normalize_domain(text: str) -> str:
    """Equal for domains that differ in case, blanks, marks and a final s."""
    words = "".join(char if char.isalnum() or char == "&" else " " for char in text.lower()).split()
    return " ".join(words).removesuffix("s")


def read_history(command: WriteExamples, shard: Shard) -> History:
    """What the completed waves before this shard's left; empty in the first wave."""
    if not command.before or command.accepted is None:
        return EMPTY_HISTORY
    job_id, stage, before = command.accepted.job_id or command.job_id, command.accepted.stage, command.before
    failed = shard.jobs.sums(job_id, stage).failed  # of an ended wave only these may still be done, by a retry
    refs = WAVE_REFS.get(
        f"{job_id}/{stage}/{before}/{failed}", lambda: completed_wave_refs(shard.jobs, job_id, stage, before)
    )
    return load_history(shard.objects, refs, frozenset(command.databases))


def completed_wave_refs(jobs: JobStore, job_id: str, stage: str, before: int) -> tuple[ObjectRef, ...]:
    """The accepted examples of some of the finished shards below `before`."""
    done = [row for row in jobs.shards(job_id, stage) if row.shard < before and row.state is ShardState.DONE]
    return tuple(row.outputs["examples"] for row in evenly_spaced(done, SHARDS_READ) if "examples" in row.outputs)


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, at even distances, the first one among them."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]


def load_history(objects: ObjectStore, refs: tuple[ObjectRef, ...], own: frozenset[str]) -> History:
    """Once a process and wave: what is read is named by its hash."""
    name = "/".join([*(ref.sha256 for ref in refs), *sorted(own)])
    return HISTORIES.get(
        name, lambda: count_history((row for ref in refs for row in read_records(objects, ref, Example)), own)
    )


def count_history(examples: Iterable[Example], own: frozenset[str] = frozenset()) -> History:
    """The histogram of examples; the user's `own` databases are no domain to avoid."""
    names: dict[str, str] = {}
    domains: Counter[str] = Counter()
    questions: dict[str, list[str]] = defaultdict(list)
    for one in examples:
        if one.database_id not in own:
            shown = names.setdefault(normalize_domain(one.domain), " ".join(one.domain.lower().split()))
            domains[shown] += 1
        questions[one.database_id].append(one.question)
    return History(domains, dict(questions))
