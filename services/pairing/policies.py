"""Pair policies: which of a question's possible pairs are taken. One policy a file, each with what it is for.

A policy sees only pairs that may be (`services/pairing/policies.py`), sorted by slots, and draws from a generator that
depends on the job's seed and the question alone: the order in which shards arrive changes nothing.
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


@lru_cache(maxsize=4096)
def meaningful_tokens(sql: str) -> tuple[str, ...]:
    """The tokens that say something: no blanks, no comments, names in lower case."""
    return tuple(
        text.lower() if kind == "word" else text for kind, text in tokens(sql) if kind not in ("blank", "comment")
    )


def token_distance(one: str, other: str) -> int:
    """Levenshtein's distance over tokens: how many are put in, taken out or exchanged."""
    return int(Levenshtein.distance(meaningful_tokens(one), meaningful_tokens(other)))


GOLD_SLOT = -1
REJECTED_VERDICTS = frozenset({Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Side:
    """One text that may be chosen or rejected. Equal texts are one side, the lowest slot stands for them.

    `samples` gave this text; `shared` gave its result, whatever their text. `slot` is GOLD_SLOT for the gold.
    """

    text: str
    slot: int
    verdict: Verdict
    outcome: Outcome
    message: str | None = None
    answer_key: str | None = None
    program: str | None = None
    neighbours: int = 0
    samples: int = 1
    shared: int = 1
    reasoning: str = ""


def sort_by_slot(judged: Iterable[JudgedCandidate]) -> list[JudgedCandidate]:
    """One order, whatever the order of arrival."""
    return sorted(judged, key=lambda row: (row.candidate.slot, row.candidate.answer_key, row.candidate.answer))


def distinct_sides(judged: Sequence[JudgedCandidate], verdicts: Iterable[Verdict]) -> list[Side]:
    """Distinct texts among these verdicts, by slot. What no SQL was found in is on no side."""
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
            neighbours=row.neighbours,
            samples=samples[text],
            reasoning=extract_reasoning(row.candidate.answer),
            shared=max(samples[text], results[row.result_hash] if row.result_hash else 0),
        )
    return list(found.values())


def gold_side(judged: Sequence[JudgedCandidate]) -> Side | None:
    """The gold as a side; None where it was not recorded or gave no rows."""
    row = judged[0]
    ran = row.gold_result
    if not row.gold or ran is None or ran.outcome is not Outcome.OK:
        return None
    return Side(text=normalize_sql(row.gold), slot=GOLD_SLOT, verdict=Verdict.CORRECT, outcome=ran.outcome, samples=0)


SAME_TEXT, SAME_PROGRAM, LENGTH_RATIO = PAIR_FILTERS = ("same_text", "same_program", "length_ratio")


@dataclass(frozen=True, slots=True)
class Pairing:
    """A chosen and a rejected side of one question."""

    chosen: Side
    rejected: Side

    @property
    def distance(self) -> int:
        """In tokens."""
        return token_distance(self.chosen.text, self.rejected.text)

    @property
    def order(self) -> tuple[int, int]:
        """Decides where nothing else does."""
        return self.chosen.slot, self.rejected.slot

    @property
    def gold_chosen(self) -> bool:
        """Whether the gold stands in for a right answer."""
        return self.chosen.slot == GOLD_SLOT


def find_fault(choice: Pairing, length_ratio: float) -> str | None:
    """Why these two teach nothing, or the wrong thing; None where they may be paired.

    `same_text`: they differ in the case of names at most; literals count as they are written. `same_program`: SQLite
    compiles both into one program, so that they give one result, and the verdicts differ for some other reason (an
    answer that was right in time and one that was too slow by a hair). `length_ratio`: where one side is many times
    longer, length is what is learnt.
    """
    chosen, rejected = choice.chosen, choice.rejected
    if meaningful_tokens(chosen.text) == meaningful_tokens(rejected.text):
        return SAME_TEXT
    if chosen.program is not None and chosen.program == rejected.program:
        return SAME_PROGRAM
    shorter, longer = sorted((len(chosen.text), len(rejected.text)))
    return LENGTH_RATIO if longer > length_ratio * shorter else None


def allowed_pairings(
    right: Sequence[Side], wrong: Sequence[Side], length_ratio: float
) -> tuple[list[Pairing], Counter[str]]:
    """Every pairing that may be, by slots, and how many may not by name."""
    found: list[Pairing] = []
    dropped: Counter[str] = Counter()
    for chosen in right:
        for rejected in wrong:
            choice = Pairing(chosen, rejected)
            if (reason := find_fault(choice, length_ratio)) is None:
                found.append(choice)
            else:
                dropped[reason] += 1
    return sorted(found, key=lambda choice: choice.order), dropped


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """A question's possible pairs (at least one), sorted; at most `most` may be taken."""

    example_id: str
    choices: Sequence[Pairing]
    seed: int
    most: int

    def rng(self) -> random.Random:
        """The same for this seed and question, always."""
        return random.Random(stable_seed(self.seed, self.example_id))


Picker = Callable[[PolicyInput], list[Pairing]]


@dataclass(frozen=True, slots=True)
class PairingPolicy:
    """`gold_stands_in`: where no sample is right, the gold is the chosen side."""

    pick: Picker
    gold_stands_in: bool = False


def one_per_question(given: PolicyInput) -> list[Pairing]:
    """Any right answer against any wrong one, one pair a question, drawn by seed.

    The default: every question weighs the same, and the draw favours no kind of mistake.
    """
    return [given.rng().choice(given.choices)]


def nearest(given: PolicyInput) -> list[Pairing]:
    """The pair with the smallest token distance.

    For models that write sound SQL and slip on details: what differs between the sides is the mistake and little else.
    Too fine for a weak start: with nearly equal sides the loss pushes the tokens that both share.
    """
    return [min(given.choices, key=lambda choice: (choice.distance, choice.order))]


def farthest(given: PolicyInput) -> list[Pairing]:
    """The pair with the largest token distance.

    For a first round with a model that misses whole clauses: the signal is strong and coarse. (Pair selection by
    nearest and farthest edit distance is also in the configuration of ExCoT, arXiv 2503.19988.)
    """
    return [min(given.choices, key=lambda choice: (-choice.distance, choice.order))]


def hardest(given: PolicyInput) -> list[Pairing]:
    """The wrong answer whose result most samples share, against the right answer nearest to it.

    For on-policy rounds: a mistake that many samples make is where the model's probability lies, so that the pair moves
    it most. It concentrates wrong golds too; `suspect_gold` takes the worst of them out before.
    """
    return [min(given.choices, key=lambda choice: (-choice.rejected.shared, choice.distance, choice.order))]


def all_capped(given: PolicyInput) -> list[Pairing]:
    """One pair a wrong answer, at most `most`, each with a right answer of its own as long as there are some.

    For small sets of questions, where every mistake has to be used; the bound keeps questions that a model finds hard
    from outweighing all others.
    """
    rng = given.rng()
    by_rejected: dict[int, list[Pairing]] = {}
    for choice in given.choices:
        by_rejected.setdefault(choice.rejected.slot, []).append(choice)
    used: set[int] = set()
    found: list[Pairing] = []
    for slot in rng.sample(list(by_rejected), min(given.most, len(by_rejected))):
        fresh = [choice for choice in by_rejected[slot] if choice.chosen.slot not in used]
        choice = rng.choice(fresh or by_rejected[slot])
        used.add(choice.chosen.slot)
        found.append(choice)
    return sorted(found, key=lambda choice: choice.order)


__all__ = ["POLICIES", "PairingPolicy", "PickFrom", "Picker"]

POLICIES: dict[PairPolicy, PairingPolicy] = {
    "one_per_question": PairingPolicy(one_per_question),
    "nearest": PairingPolicy(nearest),
    "farthest": PairingPolicy(farthest),
    "hardest": PairingPolicy(hardest),
    "all_capped": PairingPolicy(all_capped),
    # For weak models that get whole kinds of question wrong, where no sample could be chosen. Never the default: the
    # questions without any right sample are those where golds are wrong most often, and the gold is not in the model's
    # own words. Pairs made so say it.
    "gold_chosen": PairingPolicy(one_per_question, gold_stands_in=True),
}
