"""The prompt of one example: its level, two seeds, and what the collection holds already and is not to repeat.

What the collection holds is read from completed waves only. A wave begins when the one before is terminal, so all its
shards see the same, and the same recorded answers give the same prompts.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from services.synthesis.writers.seeds import RecentCache, Seed, SeedSet, builtin_seeds, render_seed
from services.synthesis.writers.user_databases import UserDatabase
from shared.contracts.base import ObjectRef
from shared.contracts.records import Example, Level
from shared.contracts.synthesis import WriteExamples
from shared.jobs.state import ShardState
from shared.jobs.store import JobStore
from shared.storage.records import read_records
from shared.tasks.task import Shard

PROMPT_VERSION = "strong-v2"
PROMPTS = Path(__file__).parents[1] / "prompts" / PROMPT_VERSION
MAX_EARLIER_QUESTIONS = 12  # on the same database, listed so that they are not asked again
MAX_DOMAINS = 40  # listed as taken
SHARDS_READ = 40  # evenly spread over the completed ones: a sample shows what is common, however large the job
FEATURE_WORDS = {
    "join": "a JOIN of two tables",
    "many_joins": "joins over three or more tables",
    "nested": "a subquery",
    "aggregate": "an aggregate function",
    "group": "GROUP BY",
    "having": "HAVING",
    "set_operation": "UNION, INTERSECT or EXCEPT",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "distinct": "DISTINCT",
    "like": "LIKE",
    "between": "BETWEEN",
    "in": "IN with a list or a subquery",
    "exists": "EXISTS or NOT EXISTS",
    "case": "CASE WHEN",
    "window": "a window function",
    "cte": "a common table expression (WITH)",
    "null": "IS NULL, COALESCE or another way to deal with missing values",
    "date": "a date function",
    "arithmetic": "arithmetic on columns",
}


@dataclass(frozen=True)
class History:
    """Accepted examples: how many by domain, and their questions by database."""

    domains: Counter[str] = field(default_factory=Counter)
    questions: dict[str, list[str]] = field(default_factory=dict)

    def common_domains(self) -> list[str]:
        # Equal counts go by name, so that equal histories give equal prompts.
        return sorted(self.domains, key=lambda name: (-self.domains[name], name))[:MAX_DOMAINS]


EMPTY_HISTORY = History()
# Shards of a wave share their history, so a worker reads it once.
HISTORIES: RecentCache[History] = RecentCache(4)
WAVE_REFS: RecentCache[tuple[ObjectRef, ...]] = RecentCache(8)


@dataclass(frozen=True)
class PromptContext:
    """What prompts need beside the command."""

    seeds: SeedSet = field(default_factory=builtin_seeds)
    history: History = EMPTY_HISTORY
    user_databases: Sequence[UserDatabase] = ()


def new_database_prompt(command: WriteExamples, level: Level, seeds: Sequence[Seed], context: PromptContext) -> str:
    """The prompt for an invented database. It lists the seeds' domains and the common ones as taken."""
    taken = list(dict.fromkeys([*sorted({seed.domain for seed in seeds}), *context.history.common_domains()]))
    return read_prompt_file("new_database").format(
        level=level,
        taken=", ".join(taken),
        examples=render_seeds(seeds, command),
        **answer_format(command, 4, ["domain", "schema", "question"]),
    )


def user_database_prompt(
    command: WriteExamples,
    level: Level,
    seeds: Sequence[Seed],
    database: UserDatabase,
    context: PromptContext,
    rng: random.Random,
) -> str:
    """The prompt for a user database. One table is drawn as the focus, so that questions spread over the schema."""
    asked = context.history.questions.get(database.card.database_id, [])
    before = "\n".join(f"- {question}" for question in rng.sample(asked, min(MAX_EARLIER_QUESTIONS, len(asked))))
    return read_prompt_file("user_database").format(
        level=level,
        examples=render_seeds(seeds, command),
        schema=database.render_schema(),
        values=database.render_values(),
        focus=rng.choice(database.filled_tables or [table.name for table in database.card.tables]),
        asked=f"Questions that the collection has already, not to be asked again:\n{before}\n\n" if before else "",
        **answer_format(command, 2, ["question"]),
    )


def feature_instruction(feature: str | None) -> str:
    if feature is None:
        return ""
    return f"\n\nIn this data point the SQL has to use {FEATURE_WORDS[feature]}, where it is needed to answer."


def render_seeds(seeds: Sequence[Seed], command: WriteExamples) -> str:
    reasoning = command.target == "reasoning_sql"
    return "\n\n".join(render_seed(seed, evidence=command.evidence, reasoning=reasoning) for seed in seeds)


def answer_format(command: WriteExamples, first: int, headings: list[str]) -> dict[str, str]:
    """The optional parts of an answer, numbered from `first`, and the line that names all headings in order."""
    optional = [("evidence", command.evidence), ("reasoning", command.target == "reasoning_sql")]
    names = [name for name, wanted in optional if wanted]
    lines = [f"{first + place}. {read_prompt_file(name).strip()}\n" for place, name in enumerate(names)]
    labels = [f"{name.capitalize()}:" for name in [*headings, *names]]
    return {
        "more": "".join(lines),
        "last": str(first + len(names)),
        "headings": f"{', '.join(labels)} and Answer:",
    }


@cache
def read_prompt_file(name: str) -> str:
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8")


def read_history(command: WriteExamples, shard: Shard) -> History:
    """What the waves before this shard's left; empty in the first wave."""
    if not command.before or command.accepted is None:
        return EMPTY_HISTORY
    job_id, stage, before = command.accepted.job_id or command.job_id, command.accepted.stage, command.before
    failed = shard.jobs.sums(job_id, stage).failed  # of an ended wave only these may still be done, by a retry
    refs = WAVE_REFS.get(
        f"{job_id}/{stage}/{before}/{failed}", lambda: completed_wave_refs(shard.jobs, job_id, stage, before)
    )
    user_databases = frozenset(command.databases)
    return HISTORIES.get(
        "/".join([*(ref.sha256 for ref in refs), *sorted(user_databases)]),
        lambda: count_history(
            (row for ref in refs for row in read_records(shard.objects, ref, Example)), user_databases
        ),
    )


def completed_wave_refs(jobs: JobStore, job_id: str, stage: str, before: int) -> tuple[ObjectRef, ...]:
    """The accepted examples of a sample of the finished shards below `before`."""
    done = [row for row in jobs.shards(job_id, stage) if row.shard < before and row.state is ShardState.DONE]
    if len(done) > SHARDS_READ:
        done = [done[place * len(done) // SHARDS_READ] for place in range(SHARDS_READ)]
    return tuple(row.outputs["examples"] for row in done if "examples" in row.outputs)


def count_history(examples: Iterable[Example], user_databases: frozenset[str] = frozenset()) -> History:
    """The history of examples. User databases are no domain to avoid."""
    names: dict[str, str] = {}
    domains: Counter[str] = Counter()
    questions: dict[str, list[str]] = defaultdict(list)
    for one in examples:
        if one.database_id not in user_databases:
            # The first spelling of a domain stands for all others.
            name = names.setdefault(normalize_domain(one.domain), " ".join(one.domain.lower().split()))
            domains[name] += 1
        questions[one.database_id].append(one.question)
    return History(domains, dict(questions))


def normalize_domain(text: str) -> str:
    """Equal for domains that differ only in case, blanks, punctuation and a final s."""
    words = "".join(char if char.isalnum() or char == "&" else " " for char in text.lower()).split()
    return " ".join(words).removesuffix("s")
