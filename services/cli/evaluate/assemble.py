"""From what the passes found to scored questions."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from services.cli.evaluate.judging import is_right
from services.cli.evaluate.options import Options
from services.evaluation.benchmark.aggregate import QuestionRow
from services.evaluation.benchmark.mode import Mode
from services.evaluation.benchmark.pairs import Pair
from services.evaluation.benchmark.scored import ScoredQuestion, facts_of
from services.evaluation.benchmark.taxonomy import failure_of
from services.sandbox.policies import Reading
from services.sandbox.verdicts import Judgement
from shared.sql.features import features_from_words

if TYPE_CHECKING:
    from services.cli.evaluate.exact import Exact

used_features = lru_cache(maxsize=65_536)(lambda sql: features_from_words(sql).used)  # golds stand twice and more
BEYOND = "beyond_spider"
BIRD_LIMIT_S = 30.0  # BIRD's own: gold and prediction together
TIMED = ("ves", "rves")


@dataclass
class Findings:
    """What each pass found, a value a pair; a pass that was not asked for left nothing."""

    judged: dict[Mode, list[Judgement]] = field(default_factory=dict)
    suites: dict[Mode, list[bool]] = field(default_factory=dict)
    exact: "list[Exact]" = field(default_factory=list)
    f1: dict[Mode, list[float]] = field(default_factory=dict)
    points: dict[int, tuple[float, float]] = field(default_factory=dict)


class Assembler:
    """Puts the findings of each question together. `levels` are BIRD's difficulties by question."""

    def __init__(self, options: Options, levels: dict[int, str], found: Findings) -> None:
        self.options, self.levels, self.found = options, levels, found
        self.reading = Reading(options.official_policy, keep_distinct=options.keep_distinct)

    def question(self, place: int, pair: Pair) -> ScoredQuestion:
        """One scored question."""
        judgement = self.found.judged[self.options.mode][place]
        exact = self.found.exact[place] if self.found.exact else None
        other = next((self.scores(place, mode) for mode in self.options.modes if mode != self.options.mode), {})
        mine, ran = self.scores(place, self.options.mode), judgement.execution
        differs = any(mine[name] != other.get(name, mine[name]) for name in ("ex", "ts") if name in mine)
        return ScoredQuestion(
            row=self.row(place, pair, judgement, exact),
            gold=pair.gold,
            prediction=pair.prediction,
            message=ran.message if ran else judgement.gold.message,
            gold_view=judgement.gold.view(),
            view=ran.view() if ran else None,
            other=other,
            quirks=self.quirks(pair, judgement) if differs else (),
            em_quirks=exact.fixes if exact else (),
            unreadable=exact.unreadable if exact else None,
            gold_ms=judgement.gold.elapsed_ms,
            ms=ran.elapsed_ms if ran else None,
            depends_on=self.depends_on(place),
        )

    def depends_on(self, place: int) -> tuple[str, ...]:
        """What else the scores depend on, in whichever mode."""
        return tuple(
            dict.fromkeys(one.value for mode in self.options.modes for one in self.found.judged[mode][place].depends_on)
        )

    def row(self, place: int, pair: Pair, judgement: Judgement, exact: "Exact | None") -> QuestionRow:
        """The scores under the asked mode, and what they are grouped by."""
        scores = self.scores(place, self.options.mode)
        if set(TIMED) & set(self.options.metrics):
            timed = dict(zip(TIMED, self.found.points.get(place, (0.0, 0.0)), strict=True))
            scores |= {name: value for name, value in timed.items() if name in self.options.metrics}
        gold, ran = judgement.gold, judgement.execution
        outcome = ran.outcome if ran else None
        cause = failure_of(judgement.verdict, outcome, facts_of(gold.view()), facts_of(ran.view() if ran else None))
        return QuestionRow(
            index=pair.index,
            db_id=pair.db_id,
            hardness=exact.hardness if exact else self.levels.get(pair.index, BEYOND),
            verdict=judgement.verdict,
            outcome=outcome,
            failure=cause,
            features=used_features(pair.gold),
            gold_empty=gold.complete and gold.row_count == 0,
            **scores,
        )

    def scores(self, place: int, mode: Mode) -> dict[str, float]:
        """The untimed metrics that were asked for."""
        found = self.found
        scores = {"ex": float(self.right(place, mode))}
        if mode in found.suites:
            scores["ts"] = float(found.suites[mode][place])
        if found.exact:
            scores["em"] = float(found.exact[place].em[mode])
        if mode in found.f1:
            scores["f1"] = found.f1[mode][place]
        return {name: value for name, value in scores.items() if name in self.options.metrics}

    def right(self, place: int, mode: Mode) -> bool:
        """Right by the policy, and in BIRD's official mode within its 30 s for both runs."""
        judgement = self.found.judged[mode][place]
        return is_right(judgement) and not (mode == "official" and self.late(judgement))

    def late(self, judgement: Judgement) -> bool:
        """Whether BIRD's evaluator would have run out of time over this question."""
        return self.options.benchmark == "bird" and both_ms(judgement) > BIRD_LIMIT_S * 1000

    def quirks(self, pair: Pair, judgement: Judgement) -> tuple[str, ...]:
        """Why official and strict may differ on a question on which they do."""
        found = list(self.reading.quirks(pair.gold, pair.prediction))
        if judgement.execution is not None and judgement.execution.flagged:
            found.append("quoted_name")
        if self.late(judgement):
            found.append("slow_together")
        return tuple(found)


def both_ms(judgement: Judgement) -> float:
    """Milliseconds of gold and prediction together."""
    return judgement.gold.elapsed_ms + (judgement.execution.elapsed_ms if judgement.execution else 0.0)
