"""The synthesis service's tasks: write examples, collect the accepted ones."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from services.synthesis.collect import Dataset, collect, interleave, sft_row
from services.synthesis.data_card import write_card
from services.synthesis.exporting import export_rows, schema_reader
from services.synthesis.grammar.writer import write_examples as write_by_grammar
from services.synthesis.handwritten import load_handwritten
from services.synthesis.llm_writer import make_request, read_answer, share_levels
from services.synthesis.load import load
from services.synthesis.reviewing import review_examples
from shared.contracts.base import TaskContract
from shared.contracts.records import Example, Rejected, Written
from shared.contracts.refs import StageRef
from shared.contracts.synthesis import (
    COLLECT,
    HARDNESS,
    LOAD_DATASET,
    REVIEW_EXAMPLES,
    WRITE_EXAMPLES,
    Collect,
    CollectedCounts,
    LoadDataset,
    LoadedCounts,
    WriteExamples,
    WrittenCounts,
)
from shared.llm.ask import TokenCount, stage_budget
from shared.llm.client import ChatClient
from shared.llm.profiles import load_profile
from shared.sql.catalog import Catalog
from shared.storage.datasets import dataset_rows, find_dataset
from shared.storage.spool import Spool
from shared.tasks.run import Done, Work
from shared.tasks.shard import Shard


def write_examples(command: WriteExamples, shard: Shard) -> Done:
    """Writes by the command's writer; nothing written has been run yet."""
    if command.writer == "llm":
        return write_by_llm(command, shard)
    written = load_handwritten()[: command.count]
    if command.writer == "grammar":
        written = write_by_grammar(
            seed=command.seed, split=command.split, shard=command.shard, count=command.count, levels=command.levels
        )
    return Done(WrittenCounts(written=len(written)), {"written": shard.write_rows("written", written)})


def write_by_llm(command: WriteExamples, shard: Shard) -> Done:
    """One call an example; answers are recorded before they are read."""
    levels = share_levels(command.levels, command.count)
    made = [make_request(command, place, level) for place, level in enumerate(levels)]
    tokens = TokenCount()
    budget = stage_budget(shard, command.budget_usd)
    profile = load_profile(command.endpoint or "")
    client = ChatClient(profile, shard.objects, budget=budget, on_usage=tokens.add, abort=shard.abort)
    answers = client.complete_many([request for request, _, _ in made])
    read = [
        read_answer(
            answer,
            level=level,
            split=command.split,
            seed=command.seed,
            model=command.model or "",
            seeds=seeds,
            prompt_hash=prompt_hash,
        )
        for answer, level, (_, seeds, prompt_hash) in zip(answers, levels, made, strict=True)
    ]
    written = [row for row in read if isinstance(row, Written)]
    unparsed = [row for row in read if isinstance(row, Rejected)]
    counts = WrittenCounts(
        written=len(written),
        unparsed=len(unparsed),
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        micro_usd=tokens.micro_usd,
    )
    outputs = {"written": shard.write_rows("written", written), "unparsed": shard.write_rows("unparsed", unparsed)}
    return Done(counts, outputs)


def load_dataset(command: LoadDataset, shard: Shard) -> Done:
    """Reads a split of a stored data set; the version named is the version read, whatever came since."""
    manifest = find_dataset(shard.objects, command.dataset)
    health = manifest.health
    faults = [*health.failed, *health.timeouts, *health.capped] if health else []
    loaded = load(command, dataset_rows(shard.objects, manifest), {fault.index for fault in faults})
    counts = LoadedCounts(
        examples=len(loaded.examples),
        selection=loaded.selection,
        held_back=loaded.held_back,
        gold_failed=loaded.gold_failed,
    )
    return Done(counts, {"examples": shard.write_rows("examples", loaded.examples)})


def rejections(stages: list[StageRef], shard: Shard) -> Iterator[Rejected]:
    """What the gates before verification and verification itself refused, stage by stage."""
    for verified in stages:
        last, _, name = verified.stage.partition(".")
        if last not in ("verify", "review"):
            continue
        gates = [(f"write.{name}", "unparsed"), (f"build.{name}", "rejected"), (f"verify.{name}", "rejected")]
        if last == "review":
            gates.append((verified.stage, "rejected"))
        for stage, output in gates:
            yield from shard.stage_rows(verified.model_copy(update={"stage": stage}), output, Rejected)


def collect_dataset(command: Collect, shard: Shard) -> Done:
    """Reads shards in index order and alone writes the exports, so that the same answers give the same bytes."""
    verified = (row for stage in command.verified for row in shard.stage_rows(stage, "examples", Example))
    refused = (row for stage in command.refuse for row in shard.stage_rows(stage, "examples", Example))
    catalog = Catalog(shard.objects)
    schema_of = schema_reader(catalog)
    dataset = collect(
        verified, refused, command.limit, schema_of=schema_of, near=command.near_duplicates, given=command.given
    )
    if all(example.split in ("test", "handwritten") for example in dataset.examples):
        dataset.examples = interleave(dataset.examples)
    dataset.selection = interleave(dataset.selection)
    earlier = Spool(Rejected, rejections(command.verified, shard))
    rows = (sft_row(example, catalog, command.prompt_rows) for example in dataset.examples)
    outputs = {
        "examples": export_rows(shard, "examples.jsonl", dataset.examples),
        "selection": export_rows(shard, "selection.jsonl", dataset.selection),
        "sft": export_rows(shard, "sft.jsonl", rows),
        "rejected": export_rows(shard, "rejected.jsonl", chain(earlier, dataset.rejected)),
        "card": shard.export("card.md", write_card(dataset, earlier, command.prompt_rows).encode()),
    }
    return Done(collected_counts(dataset, rejected=len(earlier)), outputs)


def collected_counts(dataset: Dataset, *, rejected: int) -> CollectedCounts:
    """The numbers of one collected dataset; `rejected` by earlier gates."""
    return CollectedCounts(
        examples=len(dataset.examples),
        selection=len(dataset.selection),
        duplicates=dataset.duplicates,
        near_duplicates=dataset.near_duplicates,
        leaked=dataset.leaked,
        rejected=rejected,
        held_back=dataset.held_back,
        surplus=dataset.surplus,
        flagged=sum(dataset.flags.values()),
        as_asked=dataset.as_asked,
        **{f"measured_{hardness}": dataset.measured(hardness) for hardness in HARDNESS},
    )


TASKS: dict[TaskContract, Work[Any]] = {
    WRITE_EXAMPLES: write_examples,
    LOAD_DATASET: load_dataset,
    REVIEW_EXAMPLES: review_examples,
    COLLECT: collect_dataset,
}
