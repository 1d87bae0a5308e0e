"""Scores a prediction file: one pass for each metric, then one scored question from what the passes found."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from services.benchmarks.databases import Databases, suite_label
from services.benchmarks.judging import EfficiencyTimer, ExecutionScorer, is_right, soft_f1_scores
from services.benchmarks.oddities import mass_failure, oddities
from services.benchmarks.options import GOLD_FACTOR, Options
from services.benchmarks.prediction_files import PairedFiles, PredictionPair, read_inputs
from services.benchmarks.results import Document, ScoredQuestion, Setting, make_document
from services.benchmarks.text_files import FileProblem
from services.evaluation.metrics.aggregate import BEYOND_SPIDER, QuestionRow
from services.evaluation.metrics.failures import facts_of, failure_of
from services.evaluation.metrics.quirks import Mode
from services.sandbox.execution.database_files import check_database_file
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.judging.verdicts import Judgement
from shared.errors import InvalidInputError, SenseError
from shared.sql.features import features_from_words

if TYPE_CHECKING:
    from services.benchmarks.exact_match import ExactResult

used_features = lru_cache(maxsize=65_536)(lambda sql: features_from_words(sql).used)  # several questions share a gold
BIRD_LIMIT_S = 30.0  # BIRD's own: gold and prediction together
TIMED = ("ves", "rves")
Step = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True)
class Evaluated:
    """The scored questions, the problems of single lines, and what is odd about the prediction file as a whole."""

    questions: list[ScoredQuestion]
    problems: list[FileProblem]
    oddities: list[str]


def evaluate_files(options: Options, difficulties: Path | None, step: Step) -> Evaluated:
    """Reads the files and runs every metric. `step(name, total)` starts a line of progress and returns what moves it.

    Raises InvalidInputError for files, databases or schemas that cannot be used.
    """
    databases = Databases(options.db)
    paired, levels = read_inputs(options, databases, difficulties)
    paired = without_unusable(options, paired, databases)
    if not paired.pairs:
        raise InvalidInputError(f"no question of {options.gold} can be scored; run without --lenient to see why")
    return Evaluation(options, levels, paired, databases, step).run()


def without_unusable(options: Options, paired: PairedFiles, databases: Databases) -> PairedFiles:
    """The questions on databases that can be opened; the others become problems.

    Raises InvalidInputError naming the first file that cannot be used, unless lenient.
    """
    unusable: dict[str, str] = {}
    for name in dict.fromkeys(pair.db_id for pair in paired.pairs):
        try:
            for path in databases.suite(name) if "ts" in options.metrics else [databases.main(name)]:
                check_database_file(path)
        except SenseError as error:
            if not options.lenient:
                raise InvalidInputError(f"{error.message.rstrip('.')}; --lenient leaves its questions out") from error
            unusable[name] = error.message
    return paired.without(unusable, options.gold)


def document_of(options: Options, evaluated: Evaluated) -> Document:
    setting = Setting(
        benchmark=options.benchmark,
        mode=options.mode,
        metrics=options.metrics,
        gold=options.gold.name,
        predictions=options.pred.name,
        gold_sha256=sha256(options.gold.read_bytes()).hexdigest(),
        predictions_sha256=sha256(options.pred.read_bytes()).hexdigest(),
        policy=options.official_policy.value if options.mode == "official" else "strict",
        options={"keep_distinct": options.keep_distinct, "plug_value": options.plug_value},
        suite=suite_label(options.db),
        sqlite=apsw.sqlite_lib_version(),
    )
    return make_document(setting, evaluated.questions, [*evaluated.oddities, *map(str, evaluated.problems)])


@dataclass
class PassResults:
    """What each pass found, one value for each pair; a pass that did not run left nothing."""

    judged: dict[Mode, list[Judgement]] = field(default_factory=dict)
    suites: dict[Mode, list[bool]] = field(default_factory=dict)
    exact: "list[ExactResult]" = field(default_factory=list)
    f1: dict[Mode, list[float]] = field(default_factory=dict)
    points: dict[int, tuple[float, float]] = field(default_factory=dict)


class Evaluation:
    """The passes of one evaluation; it runs once."""

    def __init__(
        self, options: Options, levels: dict[int, str], paired: PairedFiles, databases: Databases, step: Step
    ) -> None:
        self.options, self.levels, self.step = options, levels, step
        self.paired, self.databases = paired, databases
        self.limits = limits_of(options)
        self.found = PassResults()

    def run(self) -> Evaluated:
        lenient = self.options.lenient
        with (
            SandboxPool(self.options.children, self.limits, tolerant=lenient) as pool,
            ThreadPoolExecutor(1) as side,
        ):
            # A second thread waits for the sandbox while this one parses for exact match.
            judging = side.submit(self._judge, ExecutionScorer(pool, self.databases, self.options))
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
    def pairs(self) -> list[PredictionPair]:
        return self.paired.pairs

    def _leave_out(self, pool: SandboxPool) -> None:
        """Drops the questions on databases that turned out to be damaged; only a lenient pool gets this far with them.

        Raises InvalidInputError where no question is left.
        """
        unusable: dict[str, str] = {}
        for name in dict.fromkeys(pair.db_id for pair in self.pairs):
            damage = [pool.damaged[path] for path in self.databases.suite(name) if path in pool.damaged]
            unusable |= {name: damage[0]} if damage else {}
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
        # A fault of the whole file explains its failures, so the failures are not reported beside it.
        if found := oddities(self.pairs):
            return [f"{self.options.pred.name}: {one}" for one in found]
        failures = Counter(one.row.failure.value for one in questions)
        messages = ((one.row.index, one.row.failure.value, one.message) for one in questions)
        return [f"{self.options.pred.name}: {one}" for one in mass_failure(failures, messages, len(questions))]

    def _judge(self, examiner: ExecutionScorer) -> None:
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
        """Runs even where only EX is wanted: the hardness comes from the same parse."""
        if self.options.benchmark != "spider":
            return []
        # Late: the sandbox judges meanwhile.
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
        """Times the right answers, one at a time in one child, so that they do not slow each other down."""
        assembler = Assembler(self.options, self.levels, self.found)
        right = [place for place in range(len(self.pairs)) if assembler.right(place, self.options.mode)]
        progress = self.step("efficiency", len(right))
        with SandboxPool(1, self.limits) as pool:
            watch = EfficiencyTimer(pool, self.databases, self.options.ves_runs, self.options.mode)
            for place in right:
                self.found.points[place] = watch.points(self.pairs[place])
                progress(1)


def limits_of(options: Options) -> Limits:
    """Limits on statements as in SQLite and the official evaluators; the sandbox's limits on time and memory.

    BIRD's databases are larger than Spider's and get higher limits on results.
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


class Assembler:
    """Makes a scored question of what each pass found. `levels` are BIRD's difficulties by question index."""

    def __init__(self, options: Options, levels: dict[int, str], found: PassResults) -> None:
        self.options, self.levels, self.found = options, levels, found
        self.reading = ConfiguredPolicy(options.official_policy, keep_distinct=options.keep_distinct)

    def question(self, place: int, pair: PredictionPair) -> ScoredQuestion:
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
        return tuple(
            dict.fromkeys(one.value for mode in self.options.modes for one in self.found.judged[mode][place].depends_on)
        )

    def row(self, place: int, pair: PredictionPair, judgement: Judgement, exact: "ExactResult | None") -> QuestionRow:
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
            hardness=exact.hardness if exact else self.levels.get(pair.index, BEYOND_SPIDER),
            verdict=judgement.verdict,
            outcome=outcome,
            failure=cause,
            features=used_features(pair.gold),
            gold_empty=gold.complete and gold.row_count == 0,
            **scores,
        )

    def scores(self, place: int, mode: Mode) -> dict[str, float]:
        """All chosen metrics except the timed ones."""
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
        """Right by the policy; in BIRD's official mode also within the 30 s that gold and prediction share."""
        judgement = self.found.judged[mode][place]
        return is_right(judgement) and not (mode == "official" and self.late(judgement))

    def late(self, judgement: Judgement) -> bool:
        took_ms = judgement.gold.elapsed_ms + (judgement.execution.elapsed_ms if judgement.execution else 0.0)
        return self.options.benchmark == "bird" and took_ms > BIRD_LIMIT_S * 1000

    def quirks(self, pair: PredictionPair, judgement: Judgement) -> tuple[str, ...]:
        found = list(self.reading.quirks(pair.gold, pair.prediction))
        if judgement.execution is not None and judgement.execution.double_quoted_strings:
            found.append("quoted_name")
        if self.late(judgement):
            found.append("slow_together")
        return tuple(found)
