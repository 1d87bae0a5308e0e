"""The files that training reads: pairs in TRL's preference form, and their chosen sides alone for the control."""

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from shared.catalog.databases import CardCache
from shared.contracts.pairing import CollectPairs
from shared.contracts.records import DpoRow, Example, Message, Pair, SftRow, Target
from shared.contracts.refs import ObjectRef
from shared.sql.completion import render_completion
from shared.sql.prompt import render_messages
from shared.storage.records import dump_records
from shared.tasks.task import Shard


def completions(example: Example, pair: Pair, target: Target) -> tuple[str, str]:
    """What the chosen and the rejected side say; a gold that stands in brings the reasoning of its example."""
    chosen = example.reasoning if pair.gold_chosen else pair.chosen_reasoning
    return render_completion(target, pair.chosen, chosen), render_completion(
        target, pair.rejected, pair.rejected_reasoning
    )


def preference_rows(example: Example, pair: Pair, catalog: CardCache, command: CollectPairs) -> tuple[DpoRow, SftRow]:
    """A pair in TRL's preference form with explicit prompt, and its chosen side in the prompt-completion form."""
    card, style = catalog.card(example.database_id), command.style
    prompt = render_messages(card, example.question, evidence=example.evidence, rows=command.prompt_rows, style=style)
    texts = completions(example, pair, style.target)
    chosen, rejected = ([Message(role="assistant", content=text)] for text in texts)
    dpo = DpoRow(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        example_id=example.example_id,
        database_id=example.database_id,
        domain=example.domain,
        source_model=pair.model,
        outcome_rejected=pair.rejected_outcome,
        verdict_rejected=pair.rejected_verdict,
        outcome_chosen=pair.chosen_outcome,
        neighbours_chosen=pair.chosen_neighbours,
        distance=pair.distance,
        pair_policy=pair.policy,
        gold_chosen=pair.gold_chosen,
        judged_by=pair.judged_by,
        answer_chosen=pair.chosen_answer,
        answer_rejected=pair.rejected_answer,
        dataset=example.dataset,
    )
    sft = SftRow(
        prompt=prompt,
        completion=chosen,
        example_id=example.example_id,
        database_id=example.database_id,
        domain=example.domain,
        level=example.level,
        writer=example.provenance.writer,
    )
    return dpo, sft


def export_pairs(
    shard: Shard, pairs: Iterable[Pair], examples: Mapping[str, Example], catalog: CardCache, command: CollectPairs
) -> dict[str, ObjectRef]:
    """`dpo.jsonl`, `chosen.jsonl` and `pairs.jsonl`, a row at a time: prompts are long and pairs are many.

    Each pair has its row in all three, so that the control makes as many steps as DPO.
    """
    with tempfile.TemporaryDirectory(prefix="sense-pairs-") as folder, ExitStack() as files:
        paths = {name: Path(folder) / f"{name}.jsonl" for name in ("dpo", "chosen", "pairs")}
        to = {name: files.enter_context(path.open("wb")) for name, path in paths.items()}
        for pair in pairs:
            dpo, sft = preference_rows(examples[pair.example_id], pair, catalog, command)
            to["dpo"].write(dump_records([dpo]))
            to["pairs"].write(dump_records([pair]))
            to["chosen"].write(dump_records([sft]))
        for file in to.values():
            file.flush()
        return {name: shard.export_file(path.name, path) for name, path in paths.items()}
