"""Reviews right answers on test-suite databases: a result may be equal by chance.

Such a database counts for a gold only if its result follows from the rows: it is not empty, has no tie at its LIMIT and
selects no ungrouped bare column. A disagreement there takes a `correct` away but never turns an answer into a `wrong`
one. (Many databases per question: Zhong et al. 2020.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.sandbox.execution.requests import Execution, ExecutionRequest
from services.sandbox.judging.comparison import ComparisonRule
from services.sandbox.judging.judge import Judge, JudgeQuestion
from services.sandbox.judging.verdicts import Judgement
from services.sandbox.test_suites.validity import PrimaryKeys, order_probes, static_fault, tie_probes
from shared.contracts.records import Verdict

NO_KEYS: PrimaryKeys = {}


@dataclass(frozen=True)
class DatabaseSuite:
    """The test-suite databases of one database, and its primary keys' columns by table (all lower case)."""

    files: Sequence[Path]
    keys: PrimaryKeys


@dataclass
class SuiteRun:
    """One question on one test-suite database: its gold's run there, and how candidates are compared."""

    place: int
    file: Path
    gold: Execution
    rule: ComparisonRule
    counts: bool = True


class SuiteReview:
    def __init__(self, judge: Judge) -> None:
        self.judge, self.pool, self.policy = judge, judge.pool, judge.policy

    def review(
        self,
        questions: Sequence[JudgeQuestion],
        judged: Sequence[Sequence[Judgement]],
        suites: Mapping[Path, DatabaseSuite],
    ) -> list[list[Judgement]]:
        runs = self._run_golds(questions, judged, suites)
        self._drop_ties(questions, runs)
        found = [list(judgements) for judgements in judged]
        for run, executions in self._run_candidates(judged, [run for run in runs if run.counts]):
            row = found[run.place]
            for number, judgement in enumerate(row):
                if judgement.verdict in (Verdict.CORRECT, Verdict.DISPUTED) and judgement.sql in executions:
                    row[number] = review_judgement(judgement, executions[judgement.sql])
        return found

    def _run_golds(
        self,
        questions: Sequence[JudgeQuestion],
        judged: Sequence[Sequence[Judgement]],
        suites: Mapping[Path, DatabaseSuite],
    ) -> list[SuiteRun]:
        """Golds run where a candidate is right and no static fault keeps the suites from counting."""
        places: list[tuple[int, Path]] = []
        for place, question in enumerate(questions):
            suite = suites.get(question.database)
            if suite is None or not any(judgement.verdict is Verdict.CORRECT for judgement in judged[place]):
                continue
            if static_fault(self.policy.gold_text(question.gold), suite.keys) is None:
                places += [(place, file) for file in suite.files]
        # `content` names the original, so it must not stand for a suite database
        moved = [replace(questions[place], database=file, content=None) for place, file in places]
        return [
            SuiteRun(place, file, gold, self._rule(questions[place]))
            for (place, file), gold in zip(places, self.judge.run_golds(moved, with_marks=True), strict=True)
            if gold.complete and gold.row_count > 0
        ]

    def _drop_ties(self, questions: Sequence[JudgeQuestion], runs: Sequence[SuiteRun]) -> None:
        """With a tie at the LIMIT, the database does not count; with an order left open, results compare as bags."""
        requests: list[ExecutionRequest] = []
        probed: list[tuple[SuiteRun, str]] = []
        for run in runs:
            gold, width = self.policy.gold_text(questions[run.place].gold), len(run.gold.columns)
            for kind, probes in (("bag", tie_probes(gold, width)), ("list", order_probes(gold, width))):
                if probes is not None and (kind == "bag" or run.rule.rows == "list"):
                    rule = replace(run.rule, rows=kind, any_column_order=False)
                    requests += [self._gold_request(run.file, probe, rule) for probe in probes]
                    probed.append((run, kind))
        ran = self.pool.execute_many(requests)
        for (run, kind), one, other in zip(probed, ran[::2], ran[1::2], strict=True):
            same = one.complete and other.complete and one.fingerprint == other.fingerprint
            if not same and kind == "bag":
                run.counts = False
            elif not same:
                run.rule = replace(run.rule, rows="bag")
        # golds that ran as lists run again as bags
        listed = [
            run
            for run in runs
            if run.counts and run.rule.rows == "bag" and self._rule(questions[run.place]).rows == "list"
        ]
        requests = [
            replace(
                self._gold_request(run.file, self.policy.gold_text(questions[run.place].gold), run.rule),
                leave_target=True,
                with_marks=True,
            )
            for run in listed
        ]
        for run, gold_run in zip(listed, self.pool.execute_many(requests), strict=True):
            run.gold, run.counts = gold_run, gold_run.complete

    def _run_candidates(
        self, judged: Sequence[Sequence[Judgement]], runs: Sequence[SuiteRun]
    ) -> list[tuple[SuiteRun, dict[str, Execution]]]:
        requests: list[ExecutionRequest] = []
        sqls: list[list[str]] = []
        for run in runs:
            right = [j.sql for j in judged[run.place] if j.verdict is Verdict.CORRECT and j.sql is not None]
            sqls.append(list(dict.fromkeys(right)))
            target = run.gold.target()
            for sql in sqls[-1]:
                text = self.policy.candidate_text(sql)
                requests.append(ExecutionRequest(run.file, text, None, 0, run.rule, target=target))
        ran = iter(self.pool.execute_many(requests))
        return [(run, {sql: next(ran) for sql in some}) for run, some in zip(runs, sqls, strict=True)]

    def _rule(self, question: JudgeQuestion) -> ComparisonRule:
        return self.policy.rule(self.policy.gold_text(question.gold))

    def _gold_request(self, file: Path, sql: str, rule: ComparisonRule) -> ExecutionRequest:
        return ExecutionRequest(file, sql, self.judge.limits.gold_deadline_s, 0, rule)


def review_judgement(judgement: Judgement, run: Execution) -> Judgement:
    """The judgement after one more database. A run that did not finish says nothing."""
    if not run.complete or run.matched is None:
        return judgement
    lost = judgement.suite_databases_lost + (not run.matched)
    verdict = Verdict.DISPUTED if lost else judgement.verdict
    return replace(judgement, verdict=verdict, suite_databases=judgement.suite_databases + 1, suite_databases_lost=lost)
