"""The synthesis service's tasks: write examples, collect the accepted ones."""

from collections.abc import Iterator
from typing import Any

from services.synthesis.asking import ask_strong, make_requests
from services.synthesis.collect import collect, interleave, sft_row
from services.synthesis.data_card import write_card
from services.synthesis.endings import check_any, ending
from services.synthesis.grammar.writer import write_examples as write_by_grammar
from services.synthesis.handwritten import load_handwritten
from services.synthesis.load import load
from shared.contracts.base import TaskContract
from shared.contracts.records import Example, Rejected
from shared.contracts.refs import StageRef
from shared.contracts.synthesis import (
    COLLECT,
    LOAD_DATASET,
    WRITE_EXAMPLES,
    Collect,
    CollectedCounts,
    LoadDataset,
    LoadedCounts,
    WriteExamples,
    WrittenCounts,
)
from shared.sql.catalog import Catalog
from shared.storage.datasets import dataset_rows, find_dataset
from shared.storage.jsonl import dump_rows
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
    answers, tokens = ask_strong(command, shard, make_requests(command))
    if answers.unasked:
        shard.progress(note=f"the budget does not hold {answers.unasked} more examples; the job ends with what it has")
    outputs = {
        "written": shard.write_rows("written", answers.written),
        "unparsed": shard.write_rows("unparsed", answers.rejected),
    }
    return Done(answers.counts(tokens), outputs)


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
        if not verified.stage.startswith("verify."):
            continue
        name = verified.stage.removeprefix("verify.")
        gates = ((f"write.{name}", "unparsed"), (f"build.{name}", "rejected"), (verified.stage, "rejected"))
        for stage, output in gates:
            yield from shard.stage_rows(verified.model_copy(update={"stage": stage}), output, Rejected)


def collect_dataset(command: Collect, shard: Shard) -> Done:
    """Reads shards in index order and alone writes the exports, so that the same answers give the same bytes."""
    verified = (row for stage in command.verified for row in shard.stage_rows(stage, "examples", Example))
    refused = (row for stage in command.refuse for row in shard.stage_rows(stage, "examples", Example))
    dataset = collect(verified, refused, command.limit)
    short = max(0, (command.limit or 0) - len(dataset.examples))
    if short and not command.final:
        nothing = CollectedCounts(examples=0, selection=0, duplicates=0, leaked=0, rejected=0)
        return Done(nothing.model_copy(update={"short": short - command.told}))
    if all(example.split in ("test", "handwritten") for example in dataset.examples):
        dataset.examples = interleave(dataset.examples)
    dataset.selection = interleave(dataset.selection)
    catalog = Catalog(shard.objects)
    rejected = list(rejections(command.verified, shard))
    check_any(dataset, rejected)
    rows = [sft_row(example, catalog, command.prompt_rows) for example in dataset.examples]
    note = ending(shard, command, short)
    outputs = {
        "examples": shard.export("examples.jsonl", dump_rows(dataset.examples)),
        "selection": shard.export("selection.jsonl", dump_rows(dataset.selection)),
        "sft": shard.export("sft.jsonl", dump_rows(rows)),
        "rejected": shard.export("rejected.jsonl", dump_rows(rejected)),
        "card": shard.export("card.md", write_card(dataset, rejected, command.prompt_rows, note).encode()),
    }
    counts = CollectedCounts(
        examples=len(dataset.examples),
        selection=len(dataset.selection),
        duplicates=dataset.duplicates,
        leaked=dataset.leaked,
        rejected=len(rejected),
        held_back=dataset.held_back,
        short=short - command.told,
    )
    return Done(counts, outputs)


TASKS: dict[TaskContract, Work[Any]] = {
    WRITE_EXAMPLES: write_examples,
    LOAD_DATASET: load_dataset,
    COLLECT: collect_dataset,
}
