"""Collects pairs into a preference set: which of them, how long they are, their files and their histograms."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from shared.catalog.databases import CardCache
from shared.contracts.base import ObjectRef
from shared.contracts.pairing import CollectPairs, PairShape
from shared.contracts.records import AnswerTarget, DpoRecord, Example, Message, Outcome, Pair, PromptStyle, SftRecord
from shared.pages.charts import bin_values
from shared.sql.completion import render_completion
from shared.sql.prompt import render_messages
from shared.storage.records import dump_records
from shared.tasks.task import Shard

# What SQLite could not parse. Answers without any SQL are not a side of any pair.
UNPARSED_OUTCOMES = frozenset({Outcome.SYNTAX_ERROR, Outcome.MULTI_STATEMENT})
TooLong = Callable[[Example, Pair], bool]


@dataclass(frozen=True)
class SelectionRules:
    """`syntax_share`: the largest share (0 to 1) of rejected sides that SQLite cannot parse; drawn by `seed`."""

    seed: int = 0
    limit: int | None = None
    syntax_share: float = 0.25


@dataclass
class SelectedPairs:
    """The pairs kept, in shard order, and how many were refused by reason."""

    pairs: list[Pair] = field(default_factory=list)
    outside: int = 0
    duplicates: int = 0
    too_long: int = 0
    syntax_capped: int = 0
    over_limit: int = 0


def select_pairs(
    pairs: Iterable[Pair], examples: Mapping[str, Example], too_long: TooLong, rules: SelectionRules
) -> SelectedPairs:
    """Pairs of the dataset's examples that the trainer can take whole, without repeats, syntax errors capped."""
    found = SelectedPairs()
    seen: set[tuple[str, str, str]] = set()
    for pair in pairs:
        key = (pair.example_id, pair.chosen, pair.rejected)
        example = examples.get(pair.example_id)
        if example is None:
            found.outside += 1
        elif key in seen:
            found.duplicates += 1
        elif too_long(example, pair):
            found.too_long += 1
        else:
            # Only a pair that is kept makes later ones repeats.
            seen.add(key)
            found.pairs.append(pair)
    whole = len(found.pairs)
    found.pairs = cap_syntax_errors(found.pairs, rules)
    found.syntax_capped = whole - len(found.pairs)
    if rules.limit is not None and len(found.pairs) > rules.limit:
        found.over_limit = len(found.pairs) - rules.limit
        cut = found.pairs[: rules.limit]
        found.pairs = cap_syntax_errors(cut, rules)  # the first pairs may hold more than their share of syntax errors
        found.syntax_capped += len(cut) - len(found.pairs)
    return found


def cap_syntax_errors(pairs: list[Pair], rules: SelectionRules) -> list[Pair]:
    """The pairs, with unparsed rejected sides up to their share. The seed draws which of them stay."""
    unparsed = [pair for pair in pairs if pair.rejected_outcome in UNPARSED_OUTCOMES]
    most = max_unparsed(len(pairs) - len(unparsed), rules.syntax_share)
    if most is None or len(unparsed) <= most:
        return pairs
    kept = {id(pair) for pair in sorted(unparsed, key=lambda pair: draw_key(rules.seed, pair))[:most]}
    return [pair for pair in pairs if pair.rejected_outcome not in UNPARSED_OUTCOMES or id(pair) in kept]


def max_unparsed(others: int, share: float) -> int | None:
    """How many unparsed pairs beside `others` are at most `share` of all; None: any number."""
    # n / (others + n) <= share, solved for n. 1e-9 makes up for what floating point loses.
    return None if share >= 1 else int(others * share / (1 - share) + 1e-9)


def draw_key(seed: int, pair: Pair) -> str:
    """A sort key whose order depends on the seed and the pair alone."""
    text = "\x1f".join((str(seed), pair.example_id, pair.chosen, pair.rejected))
    return hashlib.sha256(text.encode()).hexdigest()


# ---- lengths ----
#
# This service has no tokenizer. Byte-level vocabularies cut text at changes between letters, digits and other signs,
# and never join two pieces. So each piece costs at least one token: a run of letters counts as one for every
# `BYTES_PER_TOKEN` bytes, digits and signs as one each, a single blank as none. Measured with SmolLM2's tokenizer on
# 735 texts (the schemas with rows of Spider's 163 databases, 600 questions and golds of BIRD dev): 13 % above the true
# count in the median, 1 % above at the 5th percentile, 8 % below at the worst. A text of many long words that the
# vocabulary does not know can still be longer; the trainer measures with its own tokenizer and refuses a set of which
# more than 1 % does not fit.

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 8  # roles and borders that a chat template adds
PIECE = re.compile(r"([^\W\d_]+)|(\s+)|(.)", re.DOTALL)


def estimate_tokens(text: str) -> int:
    total = 0
    for letters, blank, _ in PIECE.findall(text):
        if letters:
            total += 1 + (len(letters.encode()) - 1) // BYTES_PER_TOKEN
        else:
            total += len(blank) - (blank.endswith(" ")) if blank else 1
    return total


def estimate_message_tokens(messages: Iterable[Message]) -> int:
    return sum(TOKENS_PER_MESSAGE + estimate_tokens(message.content) for message in messages)


class LengthEstimator:
    """Estimated lengths of training records. A database's schema is counted once."""

    def __init__(self, catalog: CardCache, sample_rows: int, style: PromptStyle | None = None) -> None:
        self.catalog, self.sample_rows, self.style = catalog, sample_rows, style or PromptStyle()
        # A cache of this instance: on the method it would keep every instance alive.
        self._schema = lru_cache(maxsize=1024)(self._schema_tokens)

    def _schema_tokens(self, database_id: str) -> int:
        card = self.catalog.card(database_id)
        # With an empty question, so that the prompt's fixed text is counted here too.
        return estimate_message_tokens(render_messages(card, "", rows=self.sample_rows, style=self.style))

    def longest(self, example: Example, answers: Iterable[str]) -> int:
        """Estimated tokens of the prompt and its longest answer."""
        asked = estimate_tokens(example.question)
        if example.evidence:
            asked += estimate_tokens(f"External knowledge: {example.evidence}\n")
        answer = max(TOKENS_PER_MESSAGE + estimate_tokens(text) for text in answers)
        return self._schema(example.database_id) + asked + answer


# ---- files ----


def completion_texts(example: Example, pair: Pair, target: AnswerTarget) -> tuple[str, str]:
    """The chosen and the rejected completion. A gold that stands in has the reasoning of its example."""
    chosen = example.reasoning if pair.gold_chosen else pair.chosen_reasoning
    return render_completion(target, pair.chosen, chosen), render_completion(
        target, pair.rejected, pair.rejected_reasoning
    )


def training_records(
    example: Example, pair: Pair, catalog: CardCache, command: CollectPairs
) -> tuple[DpoRecord, SftRecord]:
    """A pair in TRL's preference form with an explicit prompt, and its chosen side in the prompt-completion form."""
    card, style = catalog.card(example.database_id), command.style
    prompt = render_messages(card, example.question, evidence=example.evidence, rows=command.sample_rows, style=style)
    texts = completion_texts(example, pair, style.target)
    chosen, rejected = ([Message(role="assistant", content=text)] for text in texts)
    dpo = DpoRecord(
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
        suite_databases_chosen=pair.chosen_suite_databases,
        distance=pair.distance,
        pair_policy=pair.policy,
        gold_chosen=pair.gold_chosen,
        judged_by=pair.judged_by,
        answer_chosen=pair.chosen_answer,
        answer_rejected=pair.rejected_answer,
        dataset=example.dataset,
    )
    sft = SftRecord(
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
    """`dpo.jsonl`, `chosen.jsonl` and `pairs.jsonl`, a record at a time: prompts are long and pairs are many.

    Each pair has a record in all three, so that the control makes as many steps as DPO.
    """
    with tempfile.TemporaryDirectory(prefix="sense-pairs-") as folder, ExitStack() as files:
        paths = {name: Path(folder) / f"{name}.jsonl" for name in ("dpo", "chosen", "pairs")}
        to = {name: files.enter_context(path.open("wb")) for name, path in paths.items()}
        for pair in pairs:
            example = examples[pair.example_id]
            dpo, sft = training_records(example, pair, catalog, command)
            to["dpo"].write(dump_records([dpo]))
            to["pairs"].write(dump_records([pair.with_example(example)]))
            to["chosen"].write(dump_records([sft]))
        # The files are read by path below, while they are still open.
        for file in to.values():
            file.flush()
        return {name: shard.export_file(path.name, path) for name, path in paths.items()}


def measure_shape(pairs: Sequence[Pair]) -> PairShape:
    """Histograms of distances and lengths. Both sides have the same bins, so that charts can overlay them."""
    if not pairs:
        return PairShape()
    (distances,) = bin_values([[pair.distance for pair in pairs]])
    # Both series in one call, so that they share their bins.
    chosen, rejected = bin_values([[len(pair.chosen) for pair in pairs], [len(pair.rejected) for pair in pairs]])
    return PairShape(distances=distances, chosen=chosen, rejected=rejected)
