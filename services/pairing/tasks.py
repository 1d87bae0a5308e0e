"""The pairing service's tasks: sample the weak model, build pairs, collect them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from services.pairing.policies import POLICIES, Choice
from shared.contracts.base import TaskContract
from shared.contracts.pairing import (
    BUILD_PAIRS,
    COLLECT_PAIRS,
    SAMPLE_CANDIDATES,
    BuildPairs,
    CollectedPairCounts,
    CollectPairs,
    PairCounts,
    SampleCandidates,
    SampledCounts,
)
from shared.contracts.records import DpoRow, Example, Judged, Message, Pair, SftRow
from shared.llm.ask import Asking, ask_examples, asked_outputs, stage_budget
from shared.llm.profiles import load_profile
from shared.sql.catalog import Catalog
from shared.sql.prompt import render_messages
from shared.storage.jsonl import dump_rows
from shared.tasks.run import Done, Work
from shared.tasks.shard import Shard


def sample_candidates(command: SampleCandidates, shard: Shard) -> Done:
    """`samples` answers a question, from any endpoint through the common client."""
    examples = shard.rows(command.examples, Example)
    asking = Asking(
        model=command.model,
        samples=command.samples,
        temperature=command.temperature,
        top_p=command.top_p,
        max_tokens=command.max_tokens,
        seed=command.seed,
        prompt_rows=command.prompt_rows,
    )
    budget = stage_budget(shard, command.budget_usd)
    candidates, tokens = ask_examples(shard, load_profile(command.endpoint), examples, asking, budget)
    counts = SampledCounts(
        questions=len(examples),
        candidates=len(candidates),
        unextractable=sum(candidate.sql is None for candidate in candidates),
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        micro_usd=tokens.micro_usd,
    )
    return Done(counts, asked_outputs(shard, examples, candidates))


def build_pairs(command: BuildPairs, shard: Shard) -> Done:
    """One decision a question; questions without a pair are counted by reason."""
    grouped: dict[str, list[Judged]] = {}
    for row in shard.rows(command.judged, Judged):
        grouped.setdefault(row.candidate.example_id, []).append(row)
    policy = POLICIES[command.policy]
    pairs: list[Pair] = []
    reasons: Counter[str] = Counter()
    for example_id, judged in grouped.items():
        choice, reason = policy(judged, command.seed)
        reasons[reason] += 1
        if choice is not None:
            pairs.append(as_pair(example_id, choice, command.policy))
    counts = PairCounts(
        questions=len(grouped),
        pairs=len(pairs),
        all_correct=reasons["all_correct"],
        none_correct=reasons["none_correct"],
        excluded_gold=reasons["excluded_gold"],
    )
    return Done(counts, {"pairs": shard.write_rows("pairs", pairs)})


def as_pair(example_id: str, choice: Choice, policy: str) -> Pair:
    """A pair with why its rejected side was rejected."""
    chosen, rejected = choice.chosen, choice.rejected
    return Pair(
        example_id=example_id,
        prompt_rows=chosen.candidate.clipped_rows,
        chosen=chosen.candidate.sql or "",
        rejected=rejected.candidate.sql or "",
        chosen_slot=chosen.candidate.slot,
        rejected_slot=rejected.candidate.slot,
        rejected_verdict=rejected.verdict,
        rejected_outcome=rejected.outcome,
        rejected_message=rejected.message,
        model=chosen.candidate.model,
        policy=policy,
    )


def select_pairs(pairs: Sequence[Pair], known: set[str], limit: int | None) -> tuple[list[Pair], int, int]:
    """Pairs whose example the dataset kept, without repeats; how many were outside, how many repeats."""
    kept: dict[tuple[str, str, str], Pair] = {}
    outside = sum(pair.example_id not in known for pair in pairs)
    for pair in pairs:
        if pair.example_id in known:
            kept.setdefault((pair.example_id, pair.chosen, pair.rejected), pair)
    return list(kept.values())[:limit], outside, len(pairs) - outside - len(kept)


def collect_pairs(command: CollectPairs, shard: Shard) -> Done:
    """Reads pair shards in order and writes DPO's rows, and the control's: SFT on the same chosen SQL."""
    examples = {row.example_id: row for row in shard.stage_rows(command.dataset, "examples", Example)}
    pairs, outside, duplicates = select_pairs(
        list(shard.stage_rows(command.pairs, "pairs", Pair)), set(examples), command.limit
    )
    catalog = Catalog(shard.objects)
    rows = [preference_rows(examples[pair.example_id], pair, catalog, command.prompt_rows) for pair in pairs]
    outputs = {
        "dpo": shard.export("dpo.jsonl", dump_rows([dpo for dpo, _ in rows])),
        "chosen": shard.export("chosen.jsonl", dump_rows([chosen for _, chosen in rows])),
        "pairs": shard.export("pairs.jsonl", dump_rows(pairs)),
    }
    return Done(CollectedPairCounts(pairs=len(pairs), outside=outside, duplicates=duplicates), outputs)


def preference_rows(example: Example, pair: Pair, catalog: Catalog, prompt_rows: int) -> tuple[DpoRow, SftRow]:
    """A pair in TRL's preference form, and its chosen side in the prompt-completion form."""
    card = catalog.card(example.database_id)
    prompt = render_messages(card, example.question, evidence=example.evidence, rows=prompt_rows)
    chosen = [Message(role="assistant", content=pair.chosen)]
    dpo = DpoRow(
        prompt=prompt,
        chosen=chosen,
        rejected=[Message(role="assistant", content=pair.rejected)],
        example_id=example.example_id,
        database_id=example.database_id,
        domain=example.domain,
        source_model=pair.model,
        outcome_rejected=pair.rejected_outcome,
        verdict_rejected=pair.rejected_verdict,
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


TASKS: dict[TaskContract, Work[Any]] = {
    SAMPLE_CANDIDATES: sample_candidates,
    BUILD_PAIRS: build_pairs,
    COLLECT_PAIRS: collect_pairs,
}
