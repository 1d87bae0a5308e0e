"""Execution scores: every prediction held against its gold, on one database or on a whole test suite."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from services.cli.evaluate.layout import Databases, is_generated
from services.cli.evaluate.options import SHOWN_ROWS, Options
from services.evaluation.benchmark.mode import Mode
from services.evaluation.benchmark.pairs import Pair
from services.evaluation.benchmark.spider.plug import plugged
from services.sandbox.golds import GoldMemory
from services.sandbox.judge import Judge, Question
from services.sandbox.policies import Reading
from services.sandbox.pool import SandboxPool
from services.sandbox.verdicts import Judgement
from shared.contracts.records import Policy, Verdict

RIGHT = (Verdict.CORRECT, Verdict.BOTH_EMPTY)  # both benchmarks call two empty results equal
AT_ONCE = 128
SUITE_AT_ONCE = 2048  # their results keep no rows
Progress = Callable[[int], None]


def is_right(judgement: Judgement) -> bool:
    """Whether the policy calls it right."""
    return judgement.verdict in RIGHT


class Examiner:
    """Judges pairs over one pool, in either mode."""

    def __init__(self, pool: SandboxPool, databases: Databases, options: Options) -> None:
        self.pool, self.databases, self.options = pool, databases, options
        self._golds = GoldMemory()

    def judge_of(self, mode: Mode, keep_rows: int = SHOWN_ROWS) -> Judge:
        """The judge of a mode."""
        policy = self.options.official_policy if mode == "official" else Policy.STRICT
        reading = Reading(policy, keep_distinct=self.options.keep_distinct)
        return Judge(self.pool, reading, golds=self._golds, keep_rows=keep_rows, only_wrong=not self.options.show_all)

    def execution(self, pairs: Sequence[Pair], mode: Mode, progress: Progress) -> list[Judgement]:
        """One judgement a pair on its main database."""
        main = [self.databases.main(pair.db_id) for pair in pairs]
        found = self._on(pairs, main, self.judge_of(mode), progress)
        if self.options.plug_value and mode == "official":
            self._plug(pairs, found)
        return found

    def _plug(self, pairs: Sequence[Pair], found: list[Judgement]) -> None:
        """Give each wrong pair the judgement of the first assignment of the gold's values that is right."""
        judge = self.judge_of("official")
        for place, pair in enumerate(pairs):
            if is_right(found[place]):
                continue
            tried = plugged(judge.reading.candidate_text(pair.prediction), judge.reading.gold_text(pair.gold))
            while candidates := list(islice(tried, AT_ONCE)):
                judged = judge.judge(self.databases.main(pair.db_id), pair.gold, candidates)
                right = next((judgement for judgement in judged if is_right(judgement)), None)
                if right is not None:
                    found[place] = right
                    break

    def suite(self, pairs: Sequence[Pair], first: Sequence[Judgement], mode: Mode, progress: Progress) -> list[bool]:
        """Whether each pair is right on every file of its database; `first` are the judgements on the main one.

        A pair that is wrong on the main one is not run again. A gold that fails on a file makes the pair wrong there.
        """
        right = [is_right(judgement) for judgement in first]
        if self.options.plug_value and mode == "official":  # what was right on the main one is what is tried on
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
        # file by file: a child opens each once, and is seldom without work
        asked = [
            (place, file)
            for name in by_database
            for file in self.databases.suite(name)[1:]
            for place in by_database[name]
        ]
        judge, files = self.judge_of(mode, keep_rows=0), [file for _, file in asked]
        found = self._on([pairs[place] for place, _ in asked], files, judge, progress, SUITE_AT_ONCE)
        for (place, _), judgement in zip(asked, found, strict=True):
            right[place] = right[place] and is_right(judgement)
        return right

    def _generated(
        self, pairs: Sequence[Pair], first: Sequence[Judgement], right: Sequence[bool], mode: Mode, progress: Progress
    ) -> list[bool]:
        """Neighbours count only where the gold's result follows from the rows; elsewhere the main database decides."""
        from services.cli.evaluate.suites import keys_of
        from services.sandbox.second_look import Neighbourhood, SecondLook  # brings sqlglot: a quarter of a second

        names = {pair.db_id for pair in pairs}
        around = {
            self.databases.main(name): Neighbourhood(
                self.databases.suite(name)[1:], keys_of(self.databases.main(name), self.pool)
            )
            for name in sorted(names)
        }
        look, found = SecondLook(self.judge_of(mode)), []
        for begin in range(0, len(pairs), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            questions = [
                Question(self.databases.main(pair.db_id), pair.gold, (pair.prediction,)) for pair in pairs[part]
            ]
            reviewed = look.review(questions, [[one] for one in first[part]], around)
            found += [ok and not one.neighbours_lost for ok, (one,) in zip(right[part], reviewed, strict=True)]
            progress(sum(len(self.databases.suite(pair.db_id)) - 1 for pair in pairs[part]))
        return found

    def _on(
        self,
        pairs: Sequence[Pair],
        files: Sequence[Path],
        judge: Judge,
        progress: Progress,
        at_once: int = AT_ONCE,
    ) -> list[Judgement]:
        found: list[Judgement] = []
        questions = [Question(file, pair.gold, (pair.prediction,)) for pair, file in zip(pairs, files, strict=True)]
        for begin in range(0, len(questions), at_once):
            part = questions[begin : begin + at_once]
            found += [judgements[0] for judgements in judge.judge_many(part)]
            progress(len(part))
        return found
