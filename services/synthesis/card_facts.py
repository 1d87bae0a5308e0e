"""What a dataset card tells, counted in one pass over the examples: nothing grows with their number but the counts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.contracts.records import Example, PromptStyle, Rejected
from shared.jobs.state import ShardRecord
from shared.sampling import ENDING_COUNTS
from shared.sql.features import FEATURES, sql_features

SAMPLES_A_LEVEL = 2
GATES = (("answer_", "parse"), ("llm_", "call"), ("schema_", "build"), ("gold_", "verify"))
COST_COUNTS = ("micro_usd", "answer_micro_usd", "answer_prompt_tokens", "answer_completion_tokens")


@dataclass
class CardFacts:
    """Counts over training examples; `rejected` by gate and reason; `samples` by level, the first ones of each.

    `cost` sums what the writing stages count. `licences` maps where content came from to what is said of its licence.
    """

    examples: int = 0
    selection: int = 0
    imported: int = 0
    own: int = 0
    with_reasoning: int = 0
    with_evidence: int = 0
    writers: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    hardness: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    data_sets: Counter[str] = field(default_factory=Counter)
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

    def add(self, example: Example, own: frozenset[str]) -> None:
        """One training example."""
        made = example.provenance
        self.examples += 1
        self.imported += made.writer == "imported"
        self.own += example.database_id in own
        self.with_reasoning += example.reasoning is not None
        self.with_evidence += bool(example.evidence)
        self.writers[f"{made.writer} ({made.model or made.writer_version})"] += 1
        self.levels[example.level] += 1
        self.domains[example.domain] += 1
        self.databases.add(example.database_id)
        if measured := hardness_of(example):
            self.hardness[measured] += 1
        if example.dataset:
            self.data_sets[example.dataset] += 1
        if made.seed_source:
            self.seeds[made.seed_source] = made.seed_licence or "none stated"
        self.features.update(sql_features(example.gold).used)
        kept = self.samples.setdefault(example.level, [])
        if len(kept) < SAMPLES_A_LEVEL and all(one.domain != example.domain for one in kept):
            kept.append(example)

    def used_features(self) -> dict[str, int]:
        """SQL features in the order of the reports."""
        return {name.replace("_", " "): self.features[name] for name in FEATURES if self.features[name]}

    def ordered(self, counts: Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
        """Counts in the order of `names`, others behind them."""
        known = {name: counts[name] for name in names if counts.get(name)}
        return known | {name: count for name, count in sorted(counts.items()) if name not in known}


def hardness_of(example: Example) -> str | None:
    """What was measured, where a gate has; else what the data set says."""
    return getattr(example, "measured", None) or example.hardness


def gate_of(row: Rejected) -> str:
    """The gate that refused it: its own word, else by the reason's first word."""
    named: str = getattr(row, "gate", "")
    return named or next((gate for begin, gate in GATES if row.reason.startswith(begin)), "call")


def gather_facts(
    examples: Iterable[Example],
    rejected: Iterable[Rejected],
    written: Iterable[ShardRecord],
    *,
    own: Iterable[str],
    style: PromptStyle,
    prompt: str,
) -> CardFacts:
    """Facts of one collected dataset; `written` are the rows of the stages that wrote it."""
    facts, ours = CardFacts(prompt=prompt, target=style.target), frozenset(own)
    for example in examples:
        facts.add(example, ours)
    for row in rejected:
        facts.rejected[gate_of(row), row.reason] += 1
    for shard in written:
        facts.cost.update({name: shard.counts.get(name, 0) for name in COST_COUNTS if name in shard.counts})
        facts.endings.update({name: shard.counts[name] for name in ENDING_COUNTS if name in shard.counts})
    return facts
