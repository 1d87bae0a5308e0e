"""How a written set ended: with what was asked for, or early, with the reason and what to do."""

from collections import Counter
from collections.abc import Sequence

from services.synthesis.collect import Dataset
from shared.contracts.records import Rejected
from shared.contracts.synthesis import Collect
from shared.errors import SenseError
from shared.tasks.task import Shard


class NoExamplesError(SenseError):
    """Everything that was written was refused."""

    code = "no_examples"
    http_status = 422


def check_any(dataset: Dataset, rejected: Sequence[Rejected]) -> None:
    """Raises `NoExamplesError` where nothing is left and something had been written: an empty set helps nobody."""
    if dataset.examples or dataset.selection or not (rejected or dataset.duplicates or dataset.leaked):
        return
    reasons = Counter(one.reason for one in rejected)
    reasons += Counter({"duplicate": dataset.duplicates, "leaked": dataset.leaked})
    told = ", ".join(f"{name} {count}" for name, count in reasons.most_common())
    raise NoExamplesError(
        f"none of {reasons.total()} written examples passed the gates ({told}); "
        "look at the stages' rejected rows, then name another model or other levels"
    )


def ending(shard: Shard, command: Collect, short: int) -> str | None:
    """A sentence where the set is smaller than what was asked for."""
    if not short:
        return None
    begun = f"Ended early: {short} of {command.limit} examples are missing."
    names = [f"write.{one.stage.partition('.')[2]}" for one in command.verified]
    rows = [row for name in names for row in shard.jobs.shards(shard.command.job_id, name)]
    if any(row.counts.get("unasked") for row in rows):
        return f"{begun} The budget would not have held; submit the job again with a larger one."
    return f"{begun} Too few of what was written passed the gates; see what was rejected, or name another model."
