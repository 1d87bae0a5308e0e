"""The error profile: what the weak model gets wrong, by outcome and by what the gold uses. Counts that add up."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from services.pairing.decide import Decision
from shared.contracts.pairing import ErrorProfile, ProfileLine
from shared.contracts.records import Judged, Level, ProfileRow, Verdict
from shared.sql.features import FEATURES, features_from_words

Kind = Literal["outcome", "feature", "level", "reason", "filter"]
Key = tuple[Kind, str, Verdict | None]
BARE = "none of these"
LEVELS = ("easy", "medium", "hard")
FAILED = (Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT)
# Verdicts that say how good an answer is; the others say that it could not be told.
TELLING = (Verdict.CORRECT, *FAILED, Verdict.UNEXTRACTABLE)


class Tally:
    """Counts over questions, as rows of an object that other tallies can be added to."""

    def __init__(self) -> None:
        self.counts: Counter[Key] = Counter()

    def add(self, judged: Sequence[Judged], decision: Decision) -> None:
        """One question."""
        self.add_answers(judged)
        self.counts["reason", decision.reason, None] += 1
        for name, count in decision.dropped.items():
            self.counts["filter", name, None] += count

    def add_answers(self, judged: Sequence[Judged], level: Level | None = None) -> None:
        """A question's answers alone, under its level where that is known."""
        gold = judged[0].gold
        features = sorted(features_from_words(gold).used) or [BARE] if gold else []
        for row in judged:
            self.counts["outcome", row.outcome.value, row.verdict] += 1
            for feature in features:
                self.counts["feature", feature, row.verdict] += 1
            if level is not None:
                self.counts["level", level, row.verdict] += 1

    def merge(self, rows: Iterable[ProfileRow]) -> None:
        """What another tally left."""
        for row in rows:
            self.counts[row.kind, row.name, row.verdict] += row.count

    def rows(self) -> list[ProfileRow]:
        """In one order, whatever came first."""
        ordered = sorted(self.counts.items(), key=lambda item: (item[0][0], item[0][1], str(item[0][2])))
        return [ProfileRow(kind=kind, name=name, verdict=verdict, count=n) for (kind, name, verdict), n in ordered]

    def named(self, kind: Kind) -> dict[str, int]:
        """Counts of a kind without verdicts, largest first."""
        found = {name: count for (one, name, _), count in self.counts.items() if one == kind}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def verdicts(self) -> dict[str, int]:
        """All answers by verdict, largest first."""
        found: Counter[str] = Counter()
        for (kind, _, verdict), count in self.counts.items():
            if kind == "outcome" and verdict is not None:
                found[verdict.value] += count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def profile(self) -> ErrorProfile:
        """Lines by outcome, most answers first, and by feature, in the order of the reports."""
        outcomes, features = self.lines("outcome"), self.lines("feature")
        places = {name: place for place, name in enumerate((*FEATURES, BARE))}
        return ErrorProfile(
            outcomes=sorted(outcomes, key=lambda line: (-line.answers, line.name)),
            features=sorted(features, key=lambda line: places.get(line.name, len(places))),
            levels=sorted(self.lines("level"), key=lambda line: LEVELS.index(line.name)),
        )

    def lines(self, kind: Kind) -> list[ProfileLine]:
        """One line a name: answers that could be told right from wrong, and how they failed."""
        found: dict[str, Counter[Verdict]] = {}
        for (one, name, verdict), count in self.counts.items():
            if one == kind and verdict in TELLING:
                found.setdefault(name, Counter())[verdict] += count
        return [
            ProfileLine(
                name=name,
                answers=verdicts.total(),
                correct=verdicts[Verdict.CORRECT],
                wrong=verdicts[Verdict.WRONG],
                error=verdicts[Verdict.ERROR],
                timeout=verdicts[Verdict.TIMEOUT],
                unextractable=verdicts[Verdict.UNEXTRACTABLE],
            )
            for name, verdicts in found.items()
        ]
