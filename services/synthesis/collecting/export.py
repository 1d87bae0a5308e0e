"""What collecting writes: records by way of a file, SFT records, and how a set that came out short is explained."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from services.synthesis.collecting.collect import CollectedDataset, SchemaOf
from services.synthesis.gates.features import NO_SCHEMA, SchemaFacts, schema_facts
from shared.catalog.databases import CardCache
from shared.contracts.base import ObjectRef
from shared.contracts.records import Example, Message, PromptStyle, RejectedExample, SftRecord
from shared.contracts.synthesis import Collect
from shared.errors import NotFoundError, SenseError
from shared.jobs.state import ShardRecord
from shared.sql.completion import render_completion
from shared.sql.prompt import render_messages
from shared.storage.records import dump_records
from shared.tasks.task import Shard

FACTS_KEPT = 1024


def export_records(shard: Shard, name: str, records: Iterable[BaseModel]) -> ObjectRef:
    """Stores records under the stage's `export/`, with one in memory at a time."""
    with tempfile.TemporaryDirectory(prefix="sense-export-") as folder:
        path = Path(folder) / name
        with path.open("wb") as file:
            for record in records:
                file.write(dump_records([record]))
        return shard.export_file(name, path)


def schema_facts_reader(catalog: CardCache) -> SchemaOf:
    @lru_cache(maxsize=FACTS_KEPT)
    def read(database_id: str) -> SchemaFacts:
        try:
            return schema_facts(catalog.card(database_id))
        except NotFoundError:
            return NO_SCHEMA

    return read


def sft_record(example: Example, catalog: CardCache, rows: int, style: PromptStyle) -> SftRecord:
    """An example in TRL's prompt-completion form, with the prompt as serving and evaluation render it."""
    card = catalog.card(example.database_id)
    prompt = render_messages(card, example.question, evidence=example.evidence, rows=rows, style=style)
    source = example.provenance
    return SftRecord(
        prompt=prompt,
        completion=[
            Message(role="assistant", content=render_completion(style.target, example.gold, example.reasoning))
        ],
        example_id=example.example_id,
        database_id=example.database_id,
        domain=example.domain,
        level=example.level,
        writer=source.writer,
        writer_version=source.writer_version,
        source=source.source,
        source_model=source.model,
        prompt_hash=source.prompt_hash,
        seed=source.seed,
        seed_examples=source.seed_examples,
        seed_source=source.seed_source,
        seed_licence=source.seed_licence,
        dataset=example.dataset,
        hardness=example.hardness,
    )


class NoExamplesError(SenseError):
    code = "no_examples"
    http_status = 422


def check_not_empty(dataset: CollectedDataset, rejected: Sequence[RejectedExample]) -> None:
    """Raises `NoExamplesError` if something was written and nothing is left."""
    if dataset.examples or dataset.selection or not (rejected or dataset.duplicates or dataset.leaked):
        return
    reasons = Counter(one.reason for one in rejected)
    reasons += Counter({"duplicate": dataset.duplicates, "leaked": dataset.leaked})
    listed = ", ".join(f"{name} {count}" for name, count in reasons.most_common())
    raise NoExamplesError(
        f"none of {reasons.total()} written examples passed the gates ({listed}); "
        "look at the stages' rejected rows, then name another model or other levels"
    )


def written_shards(command: Collect, shard: Shard) -> Iterator[ShardRecord]:
    for source in command.sources:
        # Loaded datasets have no stage that wrote them.
        if source.written is not None:
            yield from shard.jobs.shards(command.job_id, source.written.stage)


def shortfall_note(shard: Shard, command: Collect, short: int) -> str | None:
    """Why the set is smaller than the limit, in a sentence; None if it is not."""
    if not short:
        return None
    start = f"Ended early: {short} of {command.limit} examples are missing."
    if any(row.counts.get("unasked") for row in written_shards(command, shard)):
        return f"{start} The budget would not have held; submit the job again with a larger one."
    return f"{start} Too few of what was written passed the gates; see what was rejected, or name another model."
