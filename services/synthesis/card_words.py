"""Sentences of the dataset card, the same in Markdown and HTML."""

from collections.abc import Iterator, Mapping

from services.synthesis.card_facts import CardFacts

TARGETS = {
    "sql": "the SQL alone, as in the paper",
    "reasoning_sql": "short reasoning, then the SQL in a code block",
}


def head(facts: CardFacts) -> str:
    """What it is."""
    return (
        f"{facts.examples:,} training examples over {len(facts.databases):,} databases and {len(facts.domains):,} "
        f"domains, {facts.selection:,} in the selection split."
    )


def notes(facts: CardFacts, licences: Mapping[str, str]) -> Iterator[str]:
    """What has to be said of them, a sentence or two each."""
    if facts.note:
        yield facts.note
    yield gold_note(facts)
    yield f"Prompts: {facts.prompt}. Completions: {TARGETS[facts.target]}."
    if facts.target == "reasoning_sql" and facts.examples:
        outlined = facts.examples - facts.with_reasoning
        yield (
            f"{facts.with_reasoning:,} completions hold reasoning that a model wrote, {outlined:,} an outline read off "
            "the SQL by rule."
        )
    if facts.with_evidence:
        yield f"{facts.with_evidence:,} examples have external knowledge in their prompt."
    if facts.own:
        yield f"{facts.own:,} examples ({100 * facts.own / facts.examples:.0f} %) are on databases of the user's."
    if facts.beside_tests:
        yield f"{facts.beside_tests:,} lie on a database of a test set, with other questions."
    yield cost_note(facts)
    for source, licence in sorted({**facts.seeds, **licences}.items()):
        role = "shown to the strong model as seeds" if source in facts.seeds else "in the training data"
        yield f"{source} ({role}): {licence}."


def gold_note(facts: CardFacts) -> str:
    """What was run: golds that were written here, and not those of imported sets, which their import tells of."""
    if not facts.imported:
        return "Every gold was run and returned rows."
    sets = ", ".join(sorted(facts.data_sets))
    return (
        f"{facts.imported:,} are imported ({sets}): golds that did not run at the import are left out, golds that give "
        "no row are not. Every other gold was run and returned rows."
    )


def cost_note(facts: CardFacts) -> str:
    """The price of the answers in use; not what this job paid, for recorded answers are paid once."""
    cost = facts.cost
    if not cost["answer_prompt_tokens"]:
        return "No model was paid for writing."
    tokens = f"{cost['answer_prompt_tokens']:,} tokens in and {cost['answer_completion_tokens']:,} out"
    if not cost["answer_micro_usd"]:
        return f"The answers that were read hold {tokens}; the endpoint has no prices."
    usd = cost["answer_micro_usd"] / 1_000_000
    each = f", {usd / facts.examples:.5f} for each example kept" if facts.examples else ""
    return (
        f"The answers that were read hold {tokens}, worth {usd:.4f} US dollars at the endpoint's prices{each}. "
        "Recorded answers are paid once: what this job paid itself stands in its counts."
    )
