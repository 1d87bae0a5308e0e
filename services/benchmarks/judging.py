"""The metrics that run SQL: execution accuracy on a database or a test suite, Soft-F1, and efficiency."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

from services.benchmarks.databases import Databases, is_generated
from services.benchmarks.options import SHOWN_ROWS, Options
from services.benchmarks.prediction_files import PredictionPair
from services.evaluation.metrics.bird import rves_of, soft_f1, time_ratio, ves_of
from services.evaluation.metrics.quirks import Mode
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import Execution, ExecutionRequest
from services.sandbox.judging.judge import GoldCache, Judge, JudgeQuestion, now_ms
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.judging.verdicts import Judgement
from shared.contracts.records import Policy, Verdict

RIGHT = (Verdict.CORRECT, Verdict.BOTH_EMPTY)  # both benchmarks call two empty results equal
AT_ONCE = 128
SUITE_AT_ONCE = 2048  # their results keep no rows
Progress = Callable[[int], None]
F1_AT_ONCE = 16
ONE_RUN_S = 30.0
TOKEN = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|\d*\.\d+|\w+|[<>!=]=|<>|\S""")
VALUE = re.compile(r"""['"].*|\d+|\d*\.\d+""", re.DOTALL)
MOST_ASSIGNMENTS = 20_000  # six slots and five values; the official evaluator has no bound


def is_right(judgement: Judgement) -> bool:
    return judgement.verdict in RIGHT


class ExecutionScorer:
    """Judges pairs in one pool of sandbox children, in either mode."""

    def __init__(self, pool: SandboxPool, databases: Databases, options: Options) -> None:
        self.pool, self.databases, self.options = pool, databases, options
        self._golds = GoldCache()

    def judge_of(self, mode: Mode, keep_rows: int = SHOWN_ROWS) -> Judge:
        policy = self.options.official_policy if mode == "official" else Policy.STRICT
        reading = ConfiguredPolicy(policy, keep_distinct=self.options.keep_distinct)
        return Judge(self.pool, reading, golds=self._golds, keep_rows=keep_rows, only_wrong=not self.options.show_all)

    def execution(self, pairs: Sequence[PredictionPair], mode: Mode, progress: Progress) -> list[Judgement]:
        main = [self.databases.main(pair.db_id) for pair in pairs]
        found = self._on(pairs, main, self.judge_of(mode), progress)
        if self.options.plug_value and mode == "official":
            self._plug(pairs, found)
        return found

    def _plug(self, pairs: Sequence[PredictionPair], found: list[Judgement]) -> None:
        """Replaces a wrong judgement by that of the first assignment of the gold's values that is right."""
        judge = self.judge_of("official")
        for place, pair in enumerate(pairs):
            if is_right(found[place]):
                continue
            tried = plug_values(judge.policy.candidate_text(pair.prediction), judge.policy.gold_text(pair.gold))
            # Assignments are generated on demand and judged in batches; the first right one ends the search.
            while candidates := list(islice(tried, AT_ONCE)):
                judged = judge.judge(self.databases.main(pair.db_id), pair.gold, candidates)
                right = next((judgement for judgement in judged if is_right(judgement)), None)
                if right is not None:
                    found[place] = right
                    break

    def suite(
        self, pairs: Sequence[PredictionPair], first: Sequence[Judgement], mode: Mode, progress: Progress
    ) -> list[bool]:
        """Whether each pair is right on every database of its test suite; `first` judges the main one.

        Skips pairs that are wrong on the main one. A pair is wrong where its gold fails on a database of the suite.
        """
        right = [is_right(judgement) for judgement in first]
        if (
            self.options.plug_value and mode == "official"
        ):  # the assignment that is right on the main one is tried on the others
            pairs = [
                replace(pair, prediction=one.sql or "") if ok else pair
                for pair, one, ok in zip(pairs, first, right, strict=True)
            ]
        if is_generated(self.databases.folder):
            return self._generated(pairs, first, right, mode, progress)
        by_database: dict[str, list[int]] = {}
        for place, pair in enumerate(pairs):
            if right[place]:
                by_database.setdefault(pair.db_id, []).append(place)
        # Database by database, so that a child opens each one once.
        runs = [
            (place, file)
            for name in by_database
            for file in self.databases.suite(name)[1:]
            for place in by_database[name]
        ]
        judge, files = self.judge_of(mode, keep_rows=0), [file for _, file in runs]
        found = self._on([pairs[place] for place, _ in runs], files, judge, progress, SUITE_AT_ONCE)
        for (place, _), judgement in zip(runs, found, strict=True):
            right[place] = right[place] and is_right(judgement)
        return right

    def _generated(
        self,
        pairs: Sequence[PredictionPair],
        first: Sequence[Judgement],
        right: Sequence[bool],
        mode: Mode,
        progress: Progress,
    ) -> list[bool]:
        """Counts a generated database only where the gold's result follows from its rows."""
        from services.benchmarks.suites import keys_of
        from services.sandbox.judging.suite_review import DatabaseSuite, SuiteReview

        names = {pair.db_id for pair in pairs}
        around = {
            self.databases.main(name): DatabaseSuite(
                self.databases.suite(name)[1:], keys_of(self.databases.main(name), self.pool)
            )
            for name in sorted(names)
        }
        look, found = SuiteReview(self.judge_of(mode)), []
        for begin in range(0, len(pairs), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            questions = [
                JudgeQuestion(self.databases.main(pair.db_id), pair.gold, (pair.prediction,)) for pair in pairs[part]
            ]
            reviewed = look.review(questions, [[one] for one in first[part]], around)
            found += [ok and not one.suite_databases_lost for ok, (one,) in zip(right[part], reviewed, strict=True)]
            progress(sum(len(self.databases.suite(pair.db_id)) - 1 for pair in pairs[part]))
        return found

    def _on(
        self,
        pairs: Sequence[PredictionPair],
        files: Sequence[Path],
        judge: Judge,
        progress: Progress,
        at_once: int = AT_ONCE,
    ) -> list[Judgement]:
        found: list[Judgement] = []
        questions = [
            JudgeQuestion(file, pair.gold, (pair.prediction,)) for pair, file in zip(pairs, files, strict=True)
        ]
        for begin in range(0, len(questions), at_once):
            part = questions[begin : begin + at_once]
            found += [judgements[0] for judgements in judge.judge_many(part)]
            progress(len(part))
        return found


def tokens_of(sql: str) -> list[str]:
    """The SQL in tokens without semicolons, as the official parser splits it."""
    return [token for token in TOKEN.findall(sql) if token != ";"]


def is_value(token: str) -> bool:
    return VALUE.fullmatch(token) is not None


def plug_values(prediction: str, gold: str) -> Iterator[str]:
    """The prediction with each assignment of the gold's values to its values (`--plug-value`).

    From the rule of test-suite-sql-eval (parse.py): values are quoted strings and bare numbers, LIMIT's too; other
    tokens become lower case. Yields nothing where either side has no value, and stops at `MOST_ASSIGNMENTS`.
    """
    values = sorted({token for token in tokens_of(gold) if is_value(token)})
    pieces = tokens_of(prediction)
    slots = [place for place, token in enumerate(pieces) if is_value(token)]
    lowered = [token if is_value(token) or token[0] in "'\"`" else token.lower() for token in pieces]
    if not values or not slots:
        return
    for chosen in islice(product(values, repeat=len(slots)), MOST_ASSIGNMENTS):
        for place, value in zip(slots, chosen, strict=True):
            lowered[place] = value
        yield " ".join(lowered)


def soft_f1_scores(
    pairs: Sequence[PredictionPair],
    databases: Databases,
    limits: Limits,
    children: int,
    mode: Mode,
    progress: Callable[[int], None],
) -> list[float]:
    """One score from 0 to 1 for each pair; 0 where either side gave no whole result.

    Soft-F1 needs whole results, so it runs its questions separately, a few at a time.
    """
    rule = ConfiguredPolicy(Policy.BIRD).rule("")
    whole = replace(limits, max_cell_chars=max(limits.value_bytes, limits.stored_value_bytes))
    found: list[float] = []
    with SandboxPool(children, whole) as pool:
        for begin in range(0, len(pairs), F1_AT_ONCE):
            part = pairs[begin : begin + F1_AT_ONCE]
            requests: list[ExecutionRequest] = []
            # One moment for gold and prediction, so that SQL that asks for the time can agree.
            now = now_ms()
            for pair in part:
                path, keep = databases.main(pair.db_id), limits.max_rows
                requests.append(ExecutionRequest(path, pair.gold, limits.gold_deadline_s, keep, rule, now_ms=now))
                requests.append(ExecutionRequest(path, pair.prediction, limits.deadline_s, keep, rule, now_ms=now))
            ran = pool.execute_many(requests)
            found += [f1_of_runs(*both, mode) for both in zip(ran[::2], ran[1::2], strict=True)]
            progress(len(part))
    return found


def f1_of_runs(gold: Execution, prediction: Execution, mode: Mode) -> float:
    if not (gold.complete and prediction.complete):
        return 0.0
    return soft_f1(prediction.rows, gold.rows, mode)


class EfficiencyTimer:
    """Times SQL for BIRD's efficiency scores, in a pool of one child so that nothing else runs meanwhile."""

    def __init__(self, pool: SandboxPool, databases: Databases, runs: int, mode: Mode) -> None:
        self.pool, self.databases, self.runs, self.mode = pool, databases, runs, mode

    def points(self, pair: PredictionPair) -> tuple[float, float]:
        """(VES, R-VES) of a right answer; VES times up to the first row, R-VES up to the last, as officially."""
        gold, prediction = (self._timings(pair, sql) for sql in (pair.gold, pair.prediction))
        # Either side may have used up its time before the last run.
        count = min(len(gold), len(prediction))
        first, last = (
            time_ratio([run[part] for run in gold[:count]], [run[part] for run in prediction[:count]], self.mode)
            for part in (0, 1)
        )
        return ves_of(first), rves_of(last)

    def _timings(self, pair: PredictionPair, sql: str) -> Sequence[tuple[float, float]]:
        path, budget = self.databases.main(pair.db_id), ONE_RUN_S * self.runs
        ran = self.pool.run(ExecutionRequest(path, sql, budget, keep_rows=0, repeat=self.runs))
        return [(first, last) for first, last in ran.timings]
