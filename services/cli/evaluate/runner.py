"""One evaluation from files to scored questions."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.cli.evaluate.assemble import TIMED, Assembler, Findings
from services.cli.evaluate.efficiency import Stopwatch
from services.cli.evaluate.judging import Examiner
from services.cli.evaluate.layout import Databases
from services.cli.evaluate.options import GOLD_FACTOR, Options
from services.cli.evaluate.soft_f1 import soft_f1_scores
from services.evaluation.benchmark.lines import Problem
from services.evaluation.benchmark.oddities import mass_failure, oddities
from services.evaluation.benchmark.pairs import Pair, PairedFiles
from services.evaluation.benchmark.scored import ScoredQuestion
from services.sandbox.limits import Limits
from services.sandbox.pool import SandboxPool
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from services.cli.evaluate.exact import Exact

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
        self.found = Findings()

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

    def _exact(self, pool: SandboxPool) -> "list[Exact]":
        """Hardness always, exact match too: both come from one parse."""
        if self.options.benchmark != "spider":
            return []
        # late: judging has begun by then
        from services.cli.evaluate.exact import ExactMatcher, load_schemas

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
