"""The card of a collected dataset: facts counted in one pass over the examples, and the Markdown that shows them.

`card_html` shows the same facts, sentences and charts as a page.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from shared.contracts.records import Example, PromptStyle, RejectedExample
from shared.jobs.state import ShardRecord
from shared.pages.charts import largest_counts
from shared.sampling import ENDING_COUNTS
from shared.sql.features import FEATURES, sql_features

SAMPLES_A_LEVEL = 2
# The gate of a rejection that names none, by the prefix of its reason.
GATES = (("answer_", "parse"), ("llm_", "call"), ("schema_", "build"), ("gold_", "verify"))
COST_COUNTS = ("micro_usd", "answer_micro_usd", "answer_prompt_tokens", "answer_completion_tokens")
TARGETS = {
    "sql": "the SQL alone, as in the paper",
    "reasoning_sql": "short reasoning, then the SQL in a code block",
}
LEVELS = ("easy", "medium", "hard")
HARDNESS = ("easy", "medium", "hard", "extra", "beyond_spider")
DOMAINS = 30
BAR = 24  # characters of the longest bar
CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;"})  # would break a table row or begin a tag


@dataclass
class CardFacts:
    """Counts over training examples; `rejected` by gate and reason; `samples` by level, the first ones of each.

    `cost` and `endings` sum what the writing stages count. `seeds` maps sources of seeds to their licences.
    """

    examples: int = 0
    selection: int = 0
    imported: int = 0
    for_user_databases: int = 0
    with_reasoning: int = 0
    with_evidence: int = 0
    writers: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    hardness: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    databases: set[str] = field(default_factory=set)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    seeds: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[Example]] = field(default_factory=dict)
    prompt: str = ""
    target: str = "sql"
    beside_tests: int = 0
    note: str | None = None


def gather_facts(
    examples: Iterable[Example],
    rejected: Iterable[RejectedExample],
    written: Iterable[ShardRecord],
    *,
    user_databases: Iterable[str],
    style: PromptStyle,
    prompt: str,
) -> CardFacts:
    """`written` are the shards of the stages that wrote the examples."""
    facts, uploaded = CardFacts(prompt=prompt, target=style.target), frozenset(user_databases)
    for example in examples:
        source = example.provenance
        facts.examples += 1
        facts.imported += source.writer == "imported"
        facts.for_user_databases += example.database_id in uploaded
        facts.with_reasoning += example.reasoning is not None
        facts.with_evidence += bool(example.evidence)
        facts.writers[f"{source.writer} ({source.model or source.writer_version})"] += 1
        facts.levels[example.level] += 1
        facts.domains[example.domain] += 1
        facts.databases.add(example.database_id)
        if hardness := example.measured or example.hardness:
            facts.hardness[hardness] += 1
        if example.dataset:
            facts.datasets[example.dataset] += 1
        if source.seed_source:
            facts.seeds[source.seed_source] = source.seed_licence or "none stated"
        facts.features.update(sql_features(example.gold).used)
        # The samples of a level come from different domains.
        kept = facts.samples.setdefault(example.level, [])
        if len(kept) < SAMPLES_A_LEVEL and all(one.domain != example.domain for one in kept):
            kept.append(example)
    for row in rejected:
        gate = row.gate or next((gate for prefix, gate in GATES if row.reason.startswith(prefix)), "call")
        facts.rejected[gate, row.reason] += 1
    for shard in written:
        facts.cost.update({name: shard.counts[name] for name in COST_COUNTS if name in shard.counts})
        facts.endings.update({name: shard.counts[name] for name in ENDING_COUNTS if name in shard.counts})
    return facts


def headline(facts: CardFacts) -> str:
    return (
        f"{facts.examples:,} training examples over {len(facts.databases):,} databases and {len(facts.domains):,} "
        f"domains, {facts.selection:,} in the selection split."
    )


def notes(facts: CardFacts, licences: Mapping[str, str]) -> Iterator[str]:
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
    if facts.for_user_databases:
        share = 100 * facts.for_user_databases / facts.examples
        yield f"{facts.for_user_databases:,} examples ({share:.0f} %) are on databases of the user's."
    if facts.beside_tests:
        yield f"{facts.beside_tests:,} lie on a database of a test set, with other questions."
    yield cost_note(facts)
    for source, licence in sorted({**facts.seeds, **licences}.items()):
        role = "shown to the strong model as seeds" if source in facts.seeds else "in the training data"
        yield f"{source} ({role}): {licence}."


def gold_note(facts: CardFacts) -> str:
    if not facts.imported:
        return "Every gold was run and returned rows."
    sets = ", ".join(sorted(facts.datasets))
    return (
        f"{facts.imported:,} are imported ({sets}): golds that did not run at the import are left out, golds that give "
        "no row are not. Every other gold was run and returned rows."
    )


def cost_note(facts: CardFacts) -> str:
    """The price of the answers in use. The job itself may have paid less, because recorded answers are paid once."""
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


def count_table(title: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=0)
    lines = [f"| {title} | count | |", "|---|---:|---|"]
    for name, count in counts.items():
        bar = "█" * max(1, round(BAR * count / most)) if count else ""
        lines.append(f"| {name.translate(CELL)} | {count:,} | {bar} |")
    return "\n".join(lines)


def rejection_table(facts: CardFacts) -> str:
    # Equal counts go by name, so that equal facts give equal text.
    ranked = sorted(facts.rejected.items(), key=lambda item: (-item[1], item[0]))
    rows = [f"| {gate} | {reason} | {count:,} |" for (gate, reason), count in ranked]
    return "\n".join(["| gate | reason | rejected |", "|---|---|---:|", *rows])


def charts(facts: CardFacts) -> dict[str, dict[str, int]]:
    found = {
        "writer": largest_counts(facts.writers, DOMAINS),
        "level asked for": in_order(facts.levels, LEVELS),
        "hardness measured": in_order(facts.hardness, HARDNESS),
        "domain": largest_counts(facts.domains, DOMAINS),
        "SQL feature": {name.replace("_", " "): facts.features[name] for name in FEATURES if facts.features[name]},
    }
    return {title: counts for title, counts in found.items() if counts}


def in_order(counts: Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """Counts in the order of `names`, then all others."""
    known = {name: counts[name] for name in names if counts.get(name)}
    return known | {name: count for name, count in sorted(counts.items()) if name not in known}


def sample(example: Example) -> str:
    lines = [f"**{example.level}, {example.domain}.** {' '.join(example.question.split())}"]
    if example.evidence:
        lines.append(f"External knowledge: {example.evidence}")
    if example.reasoning:
        lines.append(f"Reasoning: {example.reasoning}")
    return "\n\n".join([*lines, f"```sql\n{example.gold}\n```"])


def render_markdown(facts: CardFacts, licences: Mapping[str, str]) -> str:
    """Equal facts give equal text."""
    parts = ["# Dataset card", headline(facts), "\n".join(f"- {note}" for note in notes(facts, licences))]
    if facts.rejected:
        parts += ["## Rejected", rejection_table(facts)]
    parts.append("## What is in it")
    parts += [count_table(title, counts) for title, counts in charts(facts).items()]
    samples = [sample(one) for level in LEVELS for one in facts.samples.get(level, [])]
    return "\n\n".join([*parts, *(["## Samples", *samples] if samples else [])]) + "\n"
