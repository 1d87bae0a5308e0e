"""What may go from an archived job's folder in the object store. Its own `rows.jsonl` says what is referenced."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from shared.jobs.state import ShardRow, ShardState
from shared.storage.keys import checkpoints_prefix

# the forms of `shared.storage.keys.shard_key` and `checkpoint_key`; nothing else of a folder is ever looked at twice
SHARD = re.compile(r"jobs/[^/]+/(?P<stage>[^/]+)/(?P<shard>\d+)\.(?P<attempt>\d+)\.[^/]+")
CHECKPOINT = re.compile(r"jobs/[^/]+/(?P<stage>[^/]+)/checkpoint-(?P<step>\d+)/.+")


@dataclass(frozen=True, slots=True)
class Going:
    """Something that goes, and why."""

    kind: str
    what: str
    why: str
    count: int = 1


def orphans(keys: Iterable[str], rows: Iterable[ShardRow]) -> Iterator[Going]:
    """Objects of attempts that no finish recorded, in the keys of one job's folder.

    An attempt above the archived one may belong to a retry that has begun since, and a shard without a row is nobody's
    that we know: both stay.
    """
    found: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for key in keys:
        if match := SHARD.fullmatch(key):
            found.setdefault((match["stage"], int(match["shard"])), []).append((int(match["attempt"]), key))
    going: list[Going] = []
    kept: set[str] = set()  # what a row names that another row's attempt wrote
    for row in rows:  # a job may have a million: none is held
        own, named = found.get((row.stage, row.shard), []), {ref.key for ref in row.outputs.values()}
        kept |= named.difference(key for _, key in own)
        done = row.state is ShardState.DONE
        recorded = f"attempt {row.attempt}" if done else "none"
        for attempt, key in own:
            if key not in named and (attempt < row.attempt or (attempt == row.attempt and not done)):
                why = f"written by attempt {attempt}; the one that finished: {recorded}"
                going.append(Going("orphan", key, why))
    yield from (one for one in going if one.what not in kept)


def stale_checkpoints(job_id: str, keys: Iterable[str], rows: Iterable[ShardRow]) -> Iterator[Going]:
    """All checkpoints of finished stages but the last one of each."""
    finished = {row.stage for row in rows if row.state is ShardState.DONE}
    found = [(match["stage"], int(match["step"]), key) for key in keys if (match := CHECKPOINT.fullmatch(key))]
    for stage, group in groupby(sorted(found), key=lambda one: one[0]):
        members = list(group)
        last = max(step for _, step, _ in members)
        if stage not in finished:
            continue
        for _, step, key in members:
            if step < last:
                prefix = checkpoints_prefix(job_id, stage)
                yield Going("checkpoint", key, f"the stage is finished, and {prefix}{last} is its last")
