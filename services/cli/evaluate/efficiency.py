"""BIRD's efficiency scores: gold and prediction of each right answer are run again and again, one at a time."""

from collections.abc import Sequence

from services.cli.evaluate.layout import Databases
from services.evaluation.benchmark.bird.efficiency import rves_of, time_ratio, ves_of
from services.evaluation.benchmark.mode import Mode
from services.evaluation.benchmark.pairs import Pair
from services.sandbox.execution import Request
from services.sandbox.pool import SandboxPool

ONE_RUN_S = 30.0


class Stopwatch:
    """Times SQL in a child of its own pool: one child, so that nothing else of ours runs meanwhile."""

    def __init__(self, pool: SandboxPool, databases: Databases, runs: int, mode: Mode) -> None:
        self.pool, self.databases, self.runs, self.mode = pool, databases, runs, mode

    def points(self, pair: Pair) -> tuple[float, float]:
        """(VES, R-VES) of a right answer: VES times up to the first row, R-VES up to the last, as officially."""
        gold, prediction = (self._timings(pair, sql) for sql in (pair.gold, pair.prediction))
        count = min(len(gold), len(prediction))
        first, last = (
            time_ratio([run[part] for run in gold[:count]], [run[part] for run in prediction[:count]], self.mode)
            for part in (0, 1)
        )
        return ves_of(first), rves_of(last)

    def _timings(self, pair: Pair, sql: str) -> Sequence[tuple[float, float]]:
        path, budget = self.databases.main(pair.db_id), ONE_RUN_S * self.runs
        ran = self.pool.run(Request(path, sql, budget, keep_rows=0, repeat=self.runs))
        return [(first, last) for first, last in ran.timings]
