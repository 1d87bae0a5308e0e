"""One evaluation from files to scored questions."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from services.benchmarks.databases import Databases
from services.benchmarks.judging import Examiner, Stopwatch, is_right, soft_f1_scores
from services.benchmarks.oddities import mass_failure, oddities
from services.benchmarks.options import GOLD_FACTOR, Options
from services.benchmarks.prediction_files import Pair, PairedFiles
from services.benchmarks.text_files import Problem
from services.evaluation.metrics.aggregate import QuestionRow
from services.evaluation.metrics.failures import failure_of
from services.evaluation.metrics.quirks import Mode
from services.evaluation.metrics.results import ScoredQuestion, facts_of
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.judging.verdicts import Judgement
from shared.errors import InvalidInputError
from shared.sql.features import features_from_words

if TYPE_CHECKING:
    from services.benchmarks.exact_match import ExactResult

used_features = lru_cache(maxsize=65_536)(lambda sql: features_from_words(sql).used)  # golds stand twice and more
BEYOND = "beyond_spider"
BIRD_LIMIT_S = 30.0  # BIRD's own: gold and prediction together
TIMED = ("ves", "rves")


@dataclass
class PassResults:
    """What each pass found, a value a pair; a pass that was not asked for left nothing."""

    judged: dict[Mode, list[Judgement]] = field(default_factory=dict)
    suites: dict[Mode, list[bool]] = field(default_factory=dict)
    exact: "list[ExactResult]" = field(default_factory=list)
    f1: dict[Mode, list[float]] = field(default_factory=dict)
    points: dict[int, tuple[float, float]] = field(default_factory=dict)


class Assembler:
    """Puts the findings of each question together. `levels` are BIRD's difficulties by question."""

    def __init__(self, options: Options, levels: dict[int, str], found: PassResults) -> None:
        self.options, self.levels, self.found = options, levels, found
        self.reading = ConfiguredPolicy(options.official_policy, keep_distinct=options.keep_distinct)

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

    def row(self, place: int, pair: Pair, judgement: Judgement, exact: "ExactResult | None") -> QuestionRow:
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
        if judgement.execution is not None and judgement.execution.double_quoted_strings:
            found.append("quoted_name")
        if self.late(judgement):
            found.append("slow_together")
        return tuple(found)


def both_ms(judgement: Judgement) -> float:
    """Milliseconds of gold and prediction together."""
    return judgement.gold.elapsed_ms + (judgement.execution.elapsed_ms if judgement.execution else 0.0)


Step = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True)
class Evaluated:
    """All questions, what was noticed in the files, and sentences about the prediction file as a whole."""

    questions: list[ScoredQuestion]
    problems: list[Problem]
    oddities: list[str]


class Evaluation:
    """Runs once. `step(name, total)` starts a line of progress and gives what moves it."""

    def __init__(
        self, options: Options, levels: dict[int, str], paired: PairedFiles, databases: Databases, step: Step
    ) -> None:
        self.options, self.levels, self.step = options, levels, step
        self.paired, self.databases = paired, databases
        self.limits = limits_of(options)
        self.found = PassResults()

    def run(self) -> Evaluated:
        """All metrics that were asked for. Raises InvalidInputError for databases or schemas that cannot be used."""
        lenient = self.options.lenient
        with (
            SandboxPool(self.options.children, self.limits, tolerant=lenient) as pool,
            ThreadPoolExecutor(1) as side,
        ):
            judging = side.submit(self._judge, Examiner(pool, self.databases, self.options))
            self.found.exact = self._exact(pool)
            judging.result()
            self._leave_out(pool)
        if "f1" in self.options.metrics:
            self._soft_f1()
        if set(TIMED) & set(self.options.metrics):
            self._efficiency()
        assembler = Assembler(self.options, self.levels, self.found)
        questions = [assembler.question(place, pair) for place, pair in enumerate(self.pairs)]
        return Evaluated(questions, self.paired.problems, self._oddities(questions))

    @property
    def pairs(self) -> list[Pair]:
        """The questions that are scored."""
        return self.paired.pairs

    def _leave_out(self, pool: SandboxPool) -> None:
        """Drops, where lenient, the questions on databases that turned out to be damaged.

        Raises InvalidInputError where nothing is left.
        """
        unusable: dict[str, str] = {}
        for name in dict.fromkeys(pair.db_id for pair in self.pairs):
            said = [pool.damaged[path] for path in self.databases.suite(name) if path in pool.damaged]
            unusable |= {name: said[0]} if said else {}
        if not unusable:
            return
        kept = [place for place, pair in enumerate(self.pairs) if pair.db_id not in unusable]
        if not kept:
            raise InvalidInputError(next(iter(unusable.values())))
        found = self.found
        found.judged = {mode: [judged[place] for place in kept] for mode, judged in found.judged.items()}
        found.suites = {mode: [right[place] for place in kept] for mode, right in found.suites.items()}
        found.exact = [found.exact[place] for place in kept] if found.exact else []
        self.paired = self.paired.without(unusable, self.options.gold)

    def _oddities(self, questions: list[ScoredQuestion]) -> list[str]:
        """What is wrong with the prediction file as a whole."""
        if said := oddities(self.pairs):
            return [f"{self.options.pred.name}: {one}" for one in said]
        failures = Counter(one.row.failure.value for one in questions)
        messages = ((one.row.index, one.row.failure.value, one.message) for one in questions)
        return [f"{self.options.pred.name}: {one}" for one in mass_failure(failures, messages, len(questions))]

    def _judge(self, examiner: Examiner) -> None:
        judged = self.found.judged
        for mode in self.options.modes:
            judged[mode] = examiner.execution(self.pairs, mode, self.step(f"execution, {mode}", len(self.pairs)))
        if "ts" not in self.options.metrics:
            return
        total = sum(len(self.databases.suite(pair.db_id)) - 1 for pair in self.pairs)
        for mode in self.options.modes:
            progress = self.step(f"test suite, {mode}", total)
            self.found.suites[mode] = examiner.suite(self.pairs, judged[mode], mode, progress)

    def _exact(self, pool: SandboxPool) -> "list[ExactResult]":
        """Hardness always, exact match too: both come from one parse."""
        if self.options.benchmark != "spider":
            return []
        # late: judging has begun by then
        from services.benchmarks.exact_match import ExactMatcher, load_schemas

        names = {pair.db_id for pair in self.pairs}
        schemas = load_schemas(self.options.tables, names, self.databases, pool, lenient=self.options.lenient)
        matcher = ExactMatcher(schemas, self.options.modes)
        progress, found = self.step("exact match", len(self.pairs)), []
        for pair in self.pairs:
            found.append(matcher.score(pair))
            progress(1)
        return found

    def _soft_f1(self) -> None:
        for mode in self.options.modes:
            progress = self.step(f"soft F1, {mode}", len(self.pairs))
            scores = soft_f1_scores(self.pairs, self.databases, self.limits, self.options.children, mode, progress)
            self.found.f1[mode] = scores

    def _efficiency(self) -> None:
        """Times right answers, one at a time in one child."""
        assembler = Assembler(self.options, self.levels, self.found)
        right = [place for place in range(len(self.pairs)) if assembler.right(place, self.options.mode)]
        progress = self.step("efficiency", len(right))
        with SandboxPool(1, self.limits) as pool:
            watch = Stopwatch(pool, self.databases, self.options.ves_runs, self.options.mode)
            for place in right:
                self.found.points[place] = watch.points(self.pairs[place])
                progress(1)


def limits_of(options: Options) -> Limits:
    """Budgets of an evaluation; BIRD's databases are larger than Spider's.

    How large a statement may be is left to SQLite's own limits, as with the official evaluators; time and memory are
    ours.
    """
    found = replace(
        Limits(),
        deadline_s=options.deadline_s,
        gold_deadline_s=options.deadline_s * GOLD_FACTOR,
        sql_bytes=1_000_000,
        expression_depth=1_000,
        compound_terms=500,
        like_pattern_bytes=50_000,
    )
    return replace(found, max_rows=500_000, max_bytes=96_000_000) if options.benchmark == "bird" else found
