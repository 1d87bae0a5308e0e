"""Pair policies: the sides of a question, which of them may be paired, and which pairings a policy takes.

A policy draws from a generator that depends on the job's seed and the question alone: the order in which shards arrive
changes nothing.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from shared.contracts.pairing import PairPolicy
from shared.contracts.records import JudgedCandidate, Outcome, Verdict
from shared.sampling import stable_seed
from shared.sql.completion import extract_reasoning
from shared.sql.tokens import normalize_sql, tokens

GOLD_SLOT = -1  # below every sample's slot
REJECTED_VERDICTS = frozenset({Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT})
# docs/decisions/0010-pairs.md: pairings that are not allowed, under every policy.
SAME_TEXT, SAME_PROGRAM, LENGTH_RATIO = PAIR_FILTERS = ("same_text", "same_program", "length_ratio")


# ---- sides ----


@dataclass(frozen=True, slots=True)
class Side:
    """One text that may be chosen or rejected. Equal texts are one side with the lowest slot.

    `samples` gave this text; `shared` gave its result, whatever their text. `slot` is GOLD_SLOT for the gold.
    """

    text: str
    slot: int
    verdict: Verdict
    outcome: Outcome
    message: str | None = None
    answer_key: str | None = None
    program: str | None = None
    suite_databases: int = 0
    samples: int = 1
    shared: int = 1
    reasoning: str = ""


def sort_by_slot(judged: Iterable[JudgedCandidate]) -> list[JudgedCandidate]:
    # Slots alone do not settle the order if two answers share one.
    return sorted(judged, key=lambda row: (row.candidate.slot, row.candidate.answer_key, row.candidate.answer))


def distinct_sides(judged: Sequence[JudgedCandidate], verdicts: Iterable[Verdict]) -> list[Side]:
    """Distinct texts with these verdicts in plain style, by slot. Answers without SQL give no side."""
    wanted = frozenset(verdicts)
    rows = [row for row in sort_by_slot(judged) if row.candidate.sql]
    texts = [normalize_sql(row.candidate.sql or "") for row in rows]
    samples = Counter(texts)
    results = Counter(row.result_hash for row in rows if row.result_hash)
    found: dict[str, Side] = {}
    for row, text in zip(rows, texts, strict=True):
        if row.verdict not in wanted or not text or text in found:
            continue
        found[text] = Side(
            text=text,
            slot=row.candidate.slot,
            verdict=row.verdict,
            outcome=row.outcome,
            message=row.message,
            answer_key=row.candidate.answer_key,
            program=row.program,
            suite_databases=row.suite_databases,
            samples=samples[text],
            reasoning=extract_reasoning(row.candidate.answer),
            # a text counts for its result even where no hash of the result was kept
            shared=max(samples[text], results[row.result_hash] if row.result_hash else 0),
        )
    return list(found.values())


def gold_side(judged: Sequence[JudgedCandidate]) -> Side | None:
    """The gold as a side; None if it was not recorded, did not run or gave no rows."""
    # All rows of a question hold the same gold.
    row = judged[0]
    ran = row.gold_result
    if not row.gold or ran is None or ran.outcome is not Outcome.OK:
        return None
    return Side(text=normalize_sql(row.gold), slot=GOLD_SLOT, verdict=Verdict.CORRECT, outcome=ran.outcome, samples=0)


# ---- pairings ----


@dataclass(frozen=True, slots=True)
class Pairing:
    """A chosen and a rejected side of one question."""

    chosen: Side
    rejected: Side

    @property
    def distance(self) -> int:
        return token_distance(self.chosen.text, self.rejected.text)

    @property
    def order(self) -> tuple[int, int]:
        # Breaks ties, so that the order of arrival changes nothing.
        return self.chosen.slot, self.rejected.slot

    @property
    def gold_chosen(self) -> bool:
        return self.chosen.slot == GOLD_SLOT


@lru_cache(maxsize=4096)
def meaningful_tokens(sql: str) -> tuple[str, ...]:
    """The tokens without blanks and comments, names in lower case."""
    return tuple(
        text.lower() if kind == "word" else text for kind, text in tokens(sql) if kind not in ("blank", "comment")
    )


def token_distance(one: str, other: str) -> int:
    return int(Levenshtein.distance(meaningful_tokens(one), meaningful_tokens(other)))


def find_fault(pairing: Pairing, length_ratio: float) -> str | None:
    """The filter that refuses a pairing, because it teaches nothing or the wrong thing; None if it passes.

    `same_text`: the sides differ in the case of names at most; literals count as they are written. `same_program`:
    SQLite compiles both into one program, so they give one result, and the verdicts differ for some other reason (one
    answer was too slow by a hair). `length_ratio`: one side is many times longer, so the model would learn length.
    """
    chosen, rejected = pairing.chosen, pairing.rejected
    if meaningful_tokens(chosen.text) == meaningful_tokens(rejected.text):
        return SAME_TEXT
    if chosen.program is not None and chosen.program == rejected.program:
        return SAME_PROGRAM
    shorter, longer = sorted((len(chosen.text), len(rejected.text)))
    return LENGTH_RATIO if longer > length_ratio * shorter else None


def allowed_pairings(
    right: Sequence[Side], wrong: Sequence[Side], length_ratio: float
) -> tuple[list[Pairing], Counter[str]]:
    """All pairings that pass the filters, by slots, and how many each filter has refused."""
    found: list[Pairing] = []
    refused: Counter[str] = Counter()
    for chosen in right:
        for rejected in wrong:
            pairing = Pairing(chosen, rejected)
            if (fault := find_fault(pairing, length_ratio)) is None:
                found.append(pairing)
            else:
                refused[fault] += 1
    return sorted(found, key=lambda pairing: pairing.order), refused


# ---- policies ----


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """A question's allowed pairings (at least one), sorted; at most `most` may be taken."""

    example_id: str
    pairings: Sequence[Pairing]
    seed: int
    most: int

    def rng(self) -> random.Random:
        return random.Random(stable_seed(self.seed, self.example_id))  # the same for any order of shards


def one_per_question(given: PolicyInput) -> list[Pairing]:
    """Any right answer against any wrong one, drawn by seed. (The paper's release has `grouped-any-limit1`, which is
    the same as far as the name says.)

    The default: every question weighs the same, and the draw favours no kind of mistake.
    """
    return [given.rng().choice(given.pairings)]


def nearest(given: PolicyInput) -> list[Pairing]:
    """The pair with the smallest token distance.

    For models that write sound SQL and slip on details: the sides differ in the mistake and little else. Too fine for a
    weak start: with nearly equal sides the loss pushes down the tokens that both share.
    """
    return [min(given.pairings, key=lambda one: (one.distance, one.order))]


def farthest(given: PolicyInput) -> list[Pairing]:
    """The pair with the largest token distance.

    For a first round with a model that misses whole clauses: the signal is strong and coarse. (Pair selection by
    nearest and farthest edit distance is also in the configuration of ExCoT, arXiv 2503.19988.)
    """
    return [min(given.pairings, key=lambda one: (-one.distance, one.order))]


def hardest(given: PolicyInput) -> list[Pairing]:
    """The wrong answer whose result most samples share, against the right answer nearest to it.

    For on-policy rounds: a mistake that many samples make is where the model's probability lies, so the pair moves it
    most. It concentrates wrong golds too; `find_suspect_gold` removes the worst of them before.
    """
    return [min(given.pairings, key=lambda one: (-one.rejected.shared, one.distance, one.order))]


def all_capped(given: PolicyInput) -> list[Pairing]:
    """One pair for each wrong answer, at most `most`, each with another right answer as long as there are some.

    For small sets of questions, where every mistake has to be used. The bound keeps questions that a model finds hard
    from outweighing all others.
    """
    rng = given.rng()
    by_rejected: dict[int, list[Pairing]] = {}
    for one in given.pairings:
        by_rejected.setdefault(one.rejected.slot, []).append(one)
    used: set[int] = set()
    taken: list[Pairing] = []
    # Drawn and not taken in order: the bound would always drop the last slots.
    for slot in rng.sample(list(by_rejected), min(given.most, len(by_rejected))):
        fresh = [one for one in by_rejected[slot] if one.chosen.slot not in used]
        pairing = rng.choice(fresh or by_rejected[slot])
        used.add(pairing.chosen.slot)
        taken.append(pairing)
    return sorted(taken, key=lambda one: one.order)


@dataclass(frozen=True, slots=True)
class PairingPolicy:
    """`gold_stands_in`: where no sample is right, the gold is the chosen side."""

    pick: Callable[[PolicyInput], list[Pairing]]
    gold_stands_in: bool = False


POLICIES: dict[PairPolicy, PairingPolicy] = {
    "one_per_question": PairingPolicy(one_per_question),
    "nearest": PairingPolicy(nearest),
    "farthest": PairingPolicy(farthest),
    "hardest": PairingPolicy(hardest),
    "all_capped": PairingPolicy(all_capped),
    # For weak models that get whole kinds of question wrong, where no sample could be chosen. Never the default: the
    # questions without any right sample are those where golds are wrong most often, and the gold is not in the model's
    # own words. Such pairs are marked `gold_chosen`.
    "gold_chosen": PairingPolicy(one_per_question, gold_stands_in=True),
}
