"""The tasks of the synthesis service: write examples, load datasets, have a judge review, collect what passed."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from services.synthesis.collecting.card import gather_facts, render_markdown
from services.synthesis.collecting.card_html import render_html
from services.synthesis.collecting.collect import CollectedDataset, collect, interleave
from services.synthesis.collecting.export import (
    check_not_empty,
    export_records,
    schema_facts_reader,
    sft_record,
    shortfall_note,
    written_shards,
)
from services.synthesis.gates.review import review_examples
from services.synthesis.load_dataset import select_examples
from services.synthesis.steering import WritingGoals, plan_slots, read_goals
from services.synthesis.writers.grammar.writer import write_to_goals
from services.synthesis.writers.handwritten import load_handwritten
from services.synthesis.writers.llm import write_with_llm
from services.synthesis.writers.llm_prompts import PromptContext, read_history
from services.synthesis.writers.seeds import builtin_seeds, dataset_seeds
from services.synthesis.writers.user_databases import load_user_databases, write_for_user_databases
from shared.catalog.databases import CardCache
from shared.catalog.datasets import find_dataset, read_examples
from shared.contracts.base import ObjectRef, TaskContract
from shared.contracts.records import Example, RejectedExample
from shared.contracts.synthesis import (
    COLLECT,
    HARDNESS,
    LOAD_DATASET,
    REVIEW_EXAMPLES,
    WRITE_EXAMPLES,
    Collect,
    CollectedCounts,
    CollectSource,
    LoadDataset,
    LoadedCounts,
    WriteExamples,
    WrittenCounts,
)
from shared.sampling import describe_endings
from shared.sql.prompt import prompt_version
from shared.storage.records import Spool
from shared.tasks.task import Shard, TaskResult, Work


def write_examples(command: WriteExamples, shard: Shard) -> TaskResult:
    """Writes by the command's writer; nothing written has been run yet."""
    goals = read_goals(command, shard)
    # The handwritten set has no levels, features or databases to choose.
    if command.writer == "handwritten":
        written = load_handwritten()[: command.count]
        return TaskResult(WrittenCounts(written=len(written)), {"written": shard.write_records("written", written)})
    if command.writer == "grammar":
        return write_with_grammar(command, shard, goals)
    seeds = dataset_seeds(shard.objects, command.seeds, command.seeds_split) if command.seeds else builtin_seeds()
    databases = load_user_databases(shard.objects, command.databases)
    return write_with_llm(command, shard, goals, PromptContext(seeds, read_history(command, shard), databases))


def write_with_grammar(command: WriteExamples, shard: Shard, goals: WritingGoals) -> TaskResult:
    """Examples over the grammar's domains and, by their share, over user databases. Only the former follow features."""
    databases = load_user_databases(shard.objects, command.databases)
    share = command.user_database_share if databases else 0.0
    slots = plan_slots(goals.levels, share, command.shard, command.count)
    written = write_for_user_databases(
        seed=command.seed,
        split=command.split,
        shard=command.shard,
        slots=[slot for slot in slots if slot.for_user_database],
        databases=databases,
    )
    own, followed = len(written), 0
    drawn = goals.draw_features(command)
    if features := [one for one, slot in zip(drawn, slots, strict=True) if not slot.for_user_database]:
        rest, followed = write_to_goals(command, goals, features)
        written += rest
    counts = WrittenCounts(written=len(written), for_user_databases=own, followed=followed)
    return TaskResult(counts, {"written": shard.write_records("written", written)})


def load_dataset(command: LoadDataset, shard: Shard) -> TaskResult:
    """Reads a split of a stored dataset, in the version that the command names."""
    manifest = find_dataset(shard.objects, command.dataset)
    health = manifest.health
    faults = [*health.failed, *health.timeouts, *health.capped] if health else []
    loaded = select_examples(command, read_examples(shard.objects, manifest), {fault.index for fault in faults})
    counts = LoadedCounts(
        examples=len(loaded.examples),
        selection=loaded.selection,
        held_back=loaded.held_back,
        gold_failed=loaded.gold_failed,
    )
    return TaskResult(counts, {"examples": shard.write_records("examples", loaded.examples)})


def read_rejections(sources: list[CollectSource], shard: Shard) -> Iterator[RejectedExample]:
    for source in sources:
        for refused in source.rejected:
            yield from shard.stage_records(refused.stage, refused.output, RejectedExample)


def collect_dataset(command: Collect, shard: Shard) -> TaskResult:
    """Reads shards in index order and alone writes the exports, so that the same answers give the same bytes."""
    verified = (row for one in command.sources for row in shard.stage_records(one.accepted, "examples", Example))
    refused = (row for stage in command.refuse for row in shard.stage_records(stage, "examples", Example))
    catalog = CardCache(shard.objects)
    schema_of = schema_facts_reader(catalog)
    dataset = collect(
        verified, refused, command.limit, schema_of=schema_of, near=command.near_duplicates, given=command.given
    )
    short = max(0, (command.limit or 0) - len(dataset.examples))
    # Another wave follows, and its collection writes the set.
    if short and not command.final:
        nothing = CollectedCounts(examples=0, selection=0, duplicates=0, leaked=0, rejected=0)
        # Counts of a stage's shards add up, so each shard reports the difference to the ones before.
        return TaskResult(nothing.model_copy(update={"short": short - command.told}))
    # Any prefix of a test set then holds questions on many databases.
    if all(example.split in ("test", "handwritten") for example in dataset.examples):
        dataset.examples = interleave(dataset.examples)
    dataset.selection = interleave(dataset.selection)
    earlier = Spool(RejectedExample, read_rejections(command.sources, shard))
    check_not_empty(dataset, earlier)
    rows = (sft_record(example, catalog, command.sample_rows, command.style) for example in dataset.examples)
    note = shortfall_note(shard, command, short)
    outputs = {
        "examples": export_records(shard, "examples.jsonl", dataset.examples),
        "selection": export_records(shard, "selection.jsonl", dataset.selection),
        "sft": export_records(shard, "sft.jsonl", rows),
        "rejected": export_records(shard, "rejected.jsonl", chain(earlier, dataset.rejected)),
        **export_cards(command, shard, dataset, chain(earlier, dataset.rejected), note),
    }
    counts = CollectedCounts(
        examples=len(dataset.examples),
        selection=len(dataset.selection),
        duplicates=dataset.duplicates,
        near_duplicates=dataset.near_duplicates,
        leaked=dataset.leaked,
        rejected=len(earlier),
        held_back=dataset.held_back,
        short=short - command.told,
        surplus=dataset.surplus,
        flagged=sum(dataset.flags.values()),
        as_asked=dataset.as_asked,
        **{f"measured_{hardness}": dataset.measured(hardness) for hardness in HARDNESS},
    )
    return TaskResult(counts, outputs)


def export_cards(
    command: Collect, shard: Shard, dataset: CollectedDataset, rejected: Iterable[RejectedExample], note: str | None
) -> dict[str, ObjectRef]:
    facts = gather_facts(
        dataset.examples,
        rejected,
        written_shards(command, shard),
        user_databases=command.given,
        style=command.style,
        prompt=prompt_version(command.sample_rows, command.style),
    )
    sentences = [f"{one}." for one in describe_endings(facts.endings, "strong.max_tokens")]
    facts.note = " ".join([*([note] if note else []), *sentences]) or None
    facts.selection, facts.beside_tests = len(dataset.selection), dataset.beside_tests
    licences = {ref: find_dataset(shard.objects, ref).licence for ref in facts.datasets}
    return {
        "card": shard.export("card.md", render_markdown(facts, licences).encode()),
        "card_html": shard.export("card.html", render_html(facts, licences).encode()),
    }


TASKS: dict[TaskContract, Work[Any]] = {
    WRITE_EXAMPLES: write_examples,
    LOAD_DATASET: load_dataset,
    REVIEW_EXAMPLES: review_examples,
    COLLECT: collect_dataset,
}
