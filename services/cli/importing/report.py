"""What an import found, for people."""

from collections import Counter
from collections.abc import Iterator, Sequence

from services.evaluation.benchmark.aggregate import LEVELS
from shared.contracts.datasets import DatasetHead, GoldFault, GoldHealth
from shared.contracts.records import Example

SHOWN = 10


def report_lines(head: DatasetHead, examples: Sequence[Example]) -> Iterator[str]:
    """The whole report."""
    splits = ", ".join(f"{name} {count}" for name, count in sorted(Counter(one.split for one in examples).items()))
    databases = len({one.database_id for one in examples})
    yield f"{len(examples)} questions ({splits}) over {databases} databases; format {head.format}, {head.licence}"
    for name, sha in head.sources.items():
        yield f"{name}: SHA-256 {sha}"
    if head.format != "custom":
        yield f"version: {head.release or 'unknown'}"
    yield f"hardness: {ordered(Counter(one.hardness or 'not stated' for one in examples))}"
    if head.skipped:
        total, named = sum(head.skipped.values()), ", ".join(f"{name} {n}" for name, n in head.skipped.items())
        yield f"left out: {total} questions on {len(head.skipped)} databases that are not here or not readable: {named}"
    yield from (f"note: {note}" for note in head.notes)
    if head.health is not None:
        yield from health_lines(head.health)


def health_lines(health: GoldHealth) -> Iterator[str]:
    """Gold health."""
    good = health.golds - health.unanswerable
    yield f"golds, run under the {health.policy.value} policy: {good} of {health.golds} can be answered, ceiling " + (
        f"{100 * health.ceiling:.2f} %"
    )
    for title, faults in (
        ("fail", health.failed),
        (f"run past {health.deadline_s:g} s", health.timeouts),
        ("give more than the sandbox reads", health.capped),
    ):
        yield f"golds that {title}: {len(faults)}"
        yield from (f"  {fault_text(fault)}" for fault in faults[:SHOWN])
        if len(faults) > SHOWN:
            yield f"  … and {len(faults) - SHOWN} more (--json lists all)"
    yield f"golds that give no row: {len(health.empty)}{numbers(health.empty)}"
    if health.clock:
        said = "judged by the moment, so that scores hold for their day"
        yield f"golds that ask what time it is: {len(health.clock)}{numbers(health.clock)}; {said}"
    inside = [one for group in health.shared for one in group]
    yield f"questions that share their text with another gold: {len(inside)}{numbers(inside)}"


def fault_text(fault: GoldFault) -> str:
    """One gold that cannot be answered."""
    return f"question {fault.index} ({fault.database}; {fault.place}): {fault.outcome.value}: {fault.message}"


def ordered(counts: Counter[str]) -> str:
    """Counts by level, in the usual order."""
    names = [name for name in LEVELS if name in counts] + sorted(set(counts) - set(LEVELS))
    return ", ".join(f"{name} {counts[name]}" for name in names)


def numbers(found: Sequence[int]) -> str:
    """The first few question numbers."""
    if not found:
        return ""
    return f" ({', '.join(map(str, found[:SHOWN]))}{', …' if len(found) > SHOWN else ''})"
