"""The error profile: what the weak model gets wrong, by outcome and SQL feature, and the wishes that follow from it.

The counts add up over shards. Wishes steer the writer of more examples to what fails most.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from services.pairing.decide import Decision
from shared.contracts.pairing import ErrorProfile, ProfileLine
from shared.contracts.records import JudgedCandidate, Level, ProfileCount, Verdict, Wish
from shared.sql.features import FEATURES, features_from_words

Kind = Literal["outcome", "feature", "level", "reason", "filter"]
Key = tuple[Kind, str, Verdict | None]
NO_FEATURE = "none of these"
LEVELS = ("easy", "medium", "hard")
# The other verdicts do not say whether an answer is right.
DECIDED_VERDICTS = (Verdict.CORRECT, Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT, Verdict.UNEXTRACTABLE)
# Every line starts with so many answers at the overall rate, because a few answers say little.
PRIOR = 16.0


class ErrorTally:
    """Counts over questions. Its rows can be merged into another tally."""

    def __init__(self) -> None:
        self.counts: Counter[Key] = Counter()

    def add(self, judged: Sequence[JudgedCandidate], decision: Decision) -> None:
        self.add_answers(judged)
        self.counts["reason", decision.reason, None] += 1
        for name, count in decision.refused.items():
            self.counts["filter", name, None] += count

    def add_answers(self, judged: Sequence[JudgedCandidate], level: Level | None = None) -> None:
        gold = judged[0].gold
        # Without a gold an answer counts under no feature, not even under NO_FEATURE.
        features = sorted(features_from_words(gold).used) or [NO_FEATURE] if gold else []
        for row in judged:
            self.counts["outcome", row.outcome.value, row.verdict] += 1
            for feature in features:
                self.counts["feature", feature, row.verdict] += 1
            if level is not None:
                self.counts["level", level, row.verdict] += 1

    def merge(self, rows: Iterable[ProfileCount]) -> None:
        for row in rows:
            self.counts[row.kind, row.name, row.verdict] += row.count

    def rows(self) -> list[ProfileCount]:
        """Sorted, so that the order of counting changes nothing."""
        ordered = sorted(self.counts.items(), key=lambda item: (item[0][0], item[0][1], str(item[0][2])))
        return [ProfileCount(kind=kind, name=name, verdict=verdict, count=n) for (kind, name, verdict), n in ordered]

    def named(self, kind: Kind) -> dict[str, int]:
        """Counts of a kind without verdicts, largest first."""
        found = {name: count for (one, name, _), count in self.counts.items() if one == kind}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def verdicts(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (kind, _, verdict), count in self.counts.items():
            if kind == "outcome" and verdict is not None:
                found[verdict.value] += count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def profile(self) -> ErrorProfile:
        """Lines by outcome, most answers first, and by feature, in the order of the reports."""
        outcomes, features = self.lines("outcome"), self.lines("feature")
        # The order of FEATURES is that of the reports.
        places = {name: place for place, name in enumerate((*FEATURES, NO_FEATURE))}
        return ErrorProfile(
            outcomes=sorted(outcomes, key=lambda line: (-line.answers, line.name)),
            features=sorted(features, key=lambda line: places.get(line.name, len(places))),
            levels=sorted(self.lines("level"), key=lambda line: LEVELS.index(line.name)),
        )

    def lines(self, kind: Kind) -> list[ProfileLine]:
        """One line a name, over the answers with a decided verdict."""
        found: dict[str, Counter[Verdict]] = {}
        for (one, name, verdict), count in self.counts.items():
            if one == kind and verdict in DECIDED_VERDICTS:
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


def count_answers(lines: Iterable[ProfileLine]) -> tuple[int, int]:
    """(answers, those that are not right)."""
    found = [(line.answers, line.answers - line.correct) for line in lines]
    return sum(answers for answers, _ in found), sum(failed for _, failed in found)


def smoothed_failure_rate(line: ProfileLine, overall: float) -> float:
    """The share of a line's answers that are not right, drawn towards `overall` where there are few answers."""
    return (line.answers - line.correct + PRIOR * overall) / (line.answers + PRIOR)


def derive_wishes(profile: ErrorProfile, levels: Mapping[Level, float]) -> list[Wish]:
    """Features that fail more often than the average answer, and levels by their share and how they fail.

    Weights of a kind add up to 1. Where nothing failed, or no verdict is decided, there is no wish for a feature.
    """
    answers, failed = count_answers(profile.outcomes)
    overall = failed / answers if answers else 0.0
    excess = {
        line.name: smoothed_failure_rate(line, overall) - overall
        for line in profile.features
        if line.name in FEATURES and smoothed_failure_rate(line, overall) > overall + 1e-9
    }
    # Relative to the overall rate, so that an average level keeps its share.
    known = {line.name: smoothed_failure_rate(line, overall) / overall for line in profile.levels if overall}
    wanted: dict[str, float] = {level: share * known.get(level, 1.0) for level, share in levels.items() if share > 0}
    return [
        *(Wish(kind="feature", name=name, weight=weight) for name, weight in normalize_weights(excess).items()),
        *(Wish(kind="level", name=name, weight=weight) for name, weight in normalize_weights(wanted).items()),
    ]


def normalize_weights(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(weight / total, 6) for name, weight in ordered} if total else {}
