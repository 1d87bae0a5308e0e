"""An example as training reads it: TRL's conversational prompt-completion form, with lineage beside it."""

from shared.catalog.databases import CardCache
from shared.contracts.records import Example, Message, PromptStyle, SftRow
from shared.sql.completion import render_completion
from shared.sql.prompt import render_messages


def sft_row(example: Example, catalog: CardCache, rows: int, style: PromptStyle) -> SftRow:
    """The prompt as serving and evaluation render it; the completion is what the target asks for."""
    card = catalog.card(example.database_id)
    prompt = render_messages(card, example.question, evidence=example.evidence, rows=rows, style=style)
    made = example.provenance
    return SftRow(
        prompt=prompt,
        completion=[
            Message(role="assistant", content=render_completion(style.target, example.gold, example.reasoning))
        ],
        example_id=example.example_id,
        database_id=example.database_id,
        domain=example.domain,
        level=example.level,
        writer=made.writer,
        writer_version=made.writer_version,
        source=made.source,
        source_model=made.model,
        prompt_hash=made.prompt_hash,
        seed=made.seed,
        seed_examples=made.seed_examples,
        seed_source=made.seed_source,
        seed_licence=made.seed_licence,
        dataset=example.dataset,
        hardness=example.hardness,
    )
