"""The synthesis service's tasks: write examples, collect the accepted ones."""

from collections.abc import Iterator
from typing import Any

from services.synthesis.collect import collect, interleave, sft_row
from services.synthesis.data_card import write_card
from services.synthesis.grammar.writer import write_examples as write_by_grammar
from services.synthesis.handwritten import load_handwritten
from services.synthesis.llm_writer import make_request, read_answer, share_levels
from services.synthesis.load import load
from services.synthesis.steer import OVERDRAW, Wanted, asking, pick, used_as_asked, wanted
from shared.contracts.base import TaskContract
from shared.contracts.records import Example, Rejected, Written
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
from shared.llm.ask import TokenCount, stage_budget
from shared.llm.client import ChatClient
from shared.llm.profiles import load_profile
from shared.sql.catalog import Catalog
from shared.storage.datasets import dataset_rows, find_dataset
from shared.storage.jsonl import dump_rows
from shared.tasks.run import Done, Work
from shared.tasks.shard import Shard


def write_examples(command: WriteExamples, shard: Shard) -> Done:
    """Writes by the command's writer; nothing written has been run yet."""
    wish = wanted(command, shard)
    if command.writer == "llm":
        return write_by_llm(command, shard, wish)
    written, followed = load_handwritten()[: command.count], 0
    if command.writer == "grammar":
        written, followed = write_steered(command, wish)
    counts = WrittenCounts(written=len(written), followed=followed)
    return Done(counts, {"written": shard.write_rows("written", written)})


def write_steered(command: WriteExamples, wish: Wanted) -> tuple[list[Written], int]:
    """By the grammar; of several times as many where features are wished for."""
    features = wish.draw(command)
    steered = any(features)
    written = write_by_grammar(
        seed=command.seed,
        split=command.split,
        shard=command.shard,
        count=command.count * (OVERDRAW if steered else 1),
        levels=wish.levels,
    )
    return pick(written, wish, features) if steered else (written, 0)


def write_by_llm(command: WriteExamples, shard: Shard, wish: Wanted) -> Done:
    """One call an example; answers are recorded before they are read."""
    levels, features = share_levels(wish.levels, command.count), wish.draw(command)
    made = [make_request(command, place, level, asking(features[place])) for place, level in enumerate(levels)]
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
    asked = [(row, feature) for row, feature in zip(read, features, strict=True) if isinstance(row, Written)]
    written = [row for row, _ in asked]
    unparsed = [row for row in read if isinstance(row, Rejected)]
    counts = WrittenCounts(
        written=len(written),
        unparsed=len(unparsed),
        followed=used_as_asked(written, [feature for _, feature in asked]),
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
    if all(example.split in ("test", "handwritten") for example in dataset.examples):
        dataset.examples = interleave(dataset.examples)
    dataset.selection = interleave(dataset.selection)
    catalog = Catalog(shard.objects)
    rejected = list(rejections(command.verified, shard))
    rows = [sft_row(example, catalog, command.prompt_rows) for example in dataset.examples]
    outputs = {
        "examples": shard.export("examples.jsonl", dump_rows(dataset.examples)),
        "selection": shard.export("selection.jsonl", dump_rows(dataset.selection)),
        "sft": shard.export("sft.jsonl", dump_rows(rows)),
        "rejected": shard.export("rejected.jsonl", dump_rows(rejected)),
        "card": shard.export("card.md", write_card(dataset, rejected, command.prompt_rows).encode()),
    }
    counts = CollectedCounts(
        examples=len(dataset.examples),
        selection=len(dataset.selection),
        duplicates=dataset.duplicates,
        leaked=dataset.leaked,
        rejected=len(rejected),
        held_back=dataset.held_back,
    )
    return Done(counts, outputs)


TASKS: dict[TaskContract, Work[Any]] = {
    WRITE_EXAMPLES: write_examples,
    LOAD_DATASET: load_dataset,
    COLLECT: collect_dataset,
}
