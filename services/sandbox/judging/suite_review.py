"""Reviews right answers on test-suite databases: a result may be equal by chance.

Such a database counts for a gold only if its result follows from the rows: it is not empty, has no tie at its LIMIT and
selects no ungrouped bare column. A disagreement there takes a `correct` away but never makes an answer `wrong`. (Many
databases per question: Zhong et al. 2020.)
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
        self.judge, self.pool = judge, judge.pool

    def review(
        self,
        questions: Sequence[JudgeQuestion],
        judged: Sequence[Sequence[Judgement]],
        neighbours: Mapping[Path, DatabaseSuite],
    ) -> list[list[Judgement]]:
        """The judgements after the suites, which are given by the questions' database."""
        visits = self._visits(questions, judged, neighbours)
        self._drop_ties(questions, visits)
        found = [list(judgements) for judgements in judged]
        for visit, answers in self._answers(questions, judged, [visit for visit in visits if visit.counts]):
            row = found[visit.place]
            for number, judgement in enumerate(row):
                if judgement.verdict in (Verdict.CORRECT, Verdict.DISPUTED) and judgement.sql in answers:
                    row[number] = review_judgement(judgement, answers[judgement.sql])
        return found

    def _visits(
        self,
        questions: Sequence[JudgeQuestion],
        judged: Sequence[Sequence[Judgement]],
        neighbours: Mapping[Path, DatabaseSuite],
    ) -> list[SuiteRun]:
        """Run golds on the suites, where a candidate is right and the gold lets suites count."""
        asked: list[tuple[int, Path]] = []
        for place, question in enumerate(questions):
            around = neighbours.get(question.database)
            if around is None or not any(judgement.verdict is Verdict.CORRECT for judgement in judged[place]):
                continue
            if static_fault(self.judge.policy.gold_text(question.gold), around.keys) is None:
                asked += [(place, file) for file in around.files]
        there = [replace(questions[place], database=file, content=None) for place, file in asked]
        golds = self.judge.run_golds(there, with_marks=True)
        visits = []
        for (place, file), gold in zip(asked, golds, strict=True):
            if gold.complete and gold.row_count > 0:
                rule = self.judge.policy.rule(self.judge.policy.gold_text(questions[place].gold))
                visits.append(SuiteRun(place, file, gold, rule))
        return visits

    def _drop_ties(self, questions: Sequence[JudgeQuestion], visits: Sequence[SuiteRun]) -> None:
        """A tie at the LIMIT and the neighbour does not count; an order left open and it counts as a bag."""
        asked: list[ExecutionRequest] = []
        of: list[tuple[SuiteRun, str]] = []
        for visit in visits:
            gold = self.judge.policy.gold_text(questions[visit.place].gold)
            width = len(visit.gold.columns)
            for kind, probes in (("bag", tie_probes(gold, width)), ("list", order_probes(gold, width))):
                if probes is not None and (kind == "bag" or visit.rule.rows == "list"):
                    rule = replace(visit.rule, rows=kind, any_column_order=False)
                    asked += [self._gold_request(visit.file, probe, rule) for probe in probes]
                    of.append((visit, kind))
        ran = self.pool.execute_many(asked)
        for (visit, kind), one, other in zip(of, ran[::2], ran[1::2], strict=True):
            same = one.complete and other.complete and one.fingerprint == other.fingerprint
            if not same and kind == "bag":
                visit.counts = False
            elif not same:
                visit.rule = replace(visit.rule, rows="bag")
        self._as_bags(questions, [visit for visit in visits if visit.counts and visit.rule.rows == "bag"])

    def _as_bags(self, questions: Sequence[JudgeQuestion], visits: Sequence[SuiteRun]) -> None:
        """Run golds again as bags that were read as lists."""
        listed = [visit for visit in visits if self._rule(questions[visit.place]).rows == "list"]
        asked = [
            replace(
                self._gold_request(visit.file, self.judge.policy.gold_text(questions[visit.place].gold), visit.rule),
                leave_target=True,
                with_marks=True,
            )
            for visit in listed
        ]
        for visit, gold in zip(listed, self.pool.execute_many(asked), strict=True):
            visit.gold, visit.counts = gold, gold.complete

    def _answers(
        self, questions: Sequence[JudgeQuestion], judged: Sequence[Sequence[Judgement]], visits: Sequence[SuiteRun]
    ) -> list[tuple[SuiteRun, dict[str, Execution]]]:
        asked: list[ExecutionRequest] = []
        names: list[list[str]] = []
        for visit in visits:
            right = [j.sql for j in judged[visit.place] if j.verdict is Verdict.CORRECT and j.sql is not None]
            names.append(list(dict.fromkeys(right)))
            target = visit.gold.target()
            for sql in names[-1]:
                text = self.judge.policy.candidate_text(sql)
                asked.append(ExecutionRequest(visit.file, text, None, 0, visit.rule, target=target))
        ran = iter(self.pool.execute_many(asked))
        return [(visit, {sql: next(ran) for sql in sqls}) for visit, sqls in zip(visits, names, strict=True)]

    def _rule(self, question: JudgeQuestion) -> ComparisonRule:
        return self.judge.policy.rule(self.judge.policy.gold_text(question.gold))

    def _gold_request(self, file: Path, sql: str, rule: ComparisonRule) -> ExecutionRequest:
        return ExecutionRequest(file, sql, self.judge.limits.gold_deadline_s, 0, rule)


def review_judgement(judgement: Judgement, there: Execution) -> Judgement:
    """The judgement after one more database. A run that did not finish there says nothing."""
    if not there.complete or there.matched is None:
        return judgement
    lost = judgement.neighbours_lost + (not there.matched)
    verdict = Verdict.DISPUTED if lost else judgement.verdict
    return replace(judgement, verdict=verdict, neighbours=judgement.neighbours + 1, neighbours_lost=lost)
