"""The error profile: what the weak model gets wrong, by outcome and by what the gold uses. Counts that add up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from services.pairing.decide import Decision
from services.pairing.policies import REJECTED_VERDICTS
from shared.contracts.pairing import ErrorProfile, ProfileLine
from shared.contracts.records import JudgedCandidate, Level, ProfileCount, TriedTemperature, Verdict, Wish
from shared.sql.features import FEATURES, features_from_words

Kind = Literal["outcome", "feature", "level", "reason", "filter"]
Key = tuple[Kind, str, Verdict | None]
NO_FEATURE = "none of these"
LEVELS = ("easy", "medium", "hard")
FAILED_VERDICTS = (Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT)
# Verdicts that say how good an answer is; the others say that it could not be told.
DECIDED_VERDICTS = (Verdict.CORRECT, *FAILED_VERDICTS, Verdict.UNEXTRACTABLE)


class ErrorTally:
    """Counts over questions, as rows of an object that other tallies can be added to."""

    def __init__(self) -> None:
        self.counts: Counter[Key] = Counter()

    def add(self, judged: Sequence[JudgedCandidate], decision: Decision) -> None:
        """One question."""
        self.add_answers(judged)
        self.counts["reason", decision.reason, None] += 1
        for name, count in decision.dropped.items():
            self.counts["filter", name, None] += count

    def add_answers(self, judged: Sequence[JudgedCandidate], level: Level | None = None) -> None:
        """A question's answers alone, under its level where that is known."""
        gold = judged[0].gold
        features = sorted(features_from_words(gold).used) or [NO_FEATURE] if gold else []
        for row in judged:
            self.counts["outcome", row.outcome.value, row.verdict] += 1
            for feature in features:
                self.counts["feature", feature, row.verdict] += 1
            if level is not None:
                self.counts["level", level, row.verdict] += 1

    def merge(self, rows: Iterable[ProfileCount]) -> None:
        """What another tally left."""
        for row in rows:
            self.counts[row.kind, row.name, row.verdict] += row.count

    def rows(self) -> list[ProfileCount]:
        """In one order, whatever came first."""
        ordered = sorted(self.counts.items(), key=lambda item: (item[0][0], item[0][1], str(item[0][2])))
        return [ProfileCount(kind=kind, name=name, verdict=verdict, count=n) for (kind, name, verdict), n in ordered]

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
        places = {name: place for place, name in enumerate((*FEATURES, NO_FEATURE))}
        return ErrorProfile(
            outcomes=sorted(outcomes, key=lambda line: (-line.answers, line.name)),
            features=sorted(features, key=lambda line: places.get(line.name, len(places))),
            levels=sorted(self.lines("level"), key=lambda line: LEVELS.index(line.name)),
        )

    def lines(self, kind: Kind) -> list[ProfileLine]:
        """One line a name: answers that could be told right from wrong, and how they failed."""
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


# Answers that a line is taken to have at the overall rate, before its own are counted: few answers say little.
PRIOR = 16.0


def count_answers(lines: Iterable[ProfileLine]) -> tuple[int, int]:
    """(answers, those that were not right)."""
    found = [(line.answers, line.answers - line.correct) for line in lines]
    return sum(answers for answers, _ in found), sum(failed for _, failed in found)


def smoothed_failure_rate(line: ProfileLine, overall: float) -> float:
    """The share of a line's answers that was not right, drawn towards the overall one where they are few."""
    return (line.answers - line.correct + PRIOR * overall) / (line.answers + PRIOR)


def derive_wishes(profile: ErrorProfile, levels: Mapping[Level, float]) -> list[Wish]:
    """Features that fail more often than the average answer, by how much more; levels by their share and how they fail.

    Weights of a kind add up to 1. Where nothing failed, or nothing could be told, there is no wish for a feature.
    """
    answers, failed = count_answers(profile.outcomes)
    overall = failed / answers if answers else 0.0
    excess = {
        line.name: smoothed_failure_rate(line, overall) - overall
        for line in profile.features
        if line.name in FEATURES and smoothed_failure_rate(line, overall) > overall + 1e-9
    }
    known = {line.name: smoothed_failure_rate(line, overall) / overall for line in profile.levels if overall}
    wanted: dict[str, float] = {level: share * known.get(level, 1.0) for level, share in levels.items() if share > 0}
    return [
        *(Wish(kind="feature", name=name, weight=weight) for name, weight in normalize_weights(excess).items()),
        *(Wish(kind="level", name=name, weight=weight) for name, weight in normalize_weights(wanted).items()),
    ]


def normalize_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights as shares of their sum, largest first."""
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(weight / total, 6) for name, weight in ordered} if total else {}


def count_mixed_questions(judged: Iterable[JudgedCandidate]) -> tuple[int, int]:
    """(questions, those with a right and a wrong answer)."""
    right: set[str] = set()
    wrong: set[str] = set()
    every: set[str] = set()
    for row in judged:
        name = row.candidate.example_id
        every.add(name)
        if row.verdict is Verdict.CORRECT:
            right.add(name)
        elif row.verdict in REJECTED_VERDICTS:
            wrong.add(name)
    return len(every), len(right & wrong)


def compare_temperatures(
    temperatures: Sequence[float], judged: Iterable[Iterable[JudgedCandidate]]
) -> list[TriedTemperature]:
    """One line a temperature, in their order, one of them chosen.

    Among equals the lowest is: its answers are nearest to what the model says when it is served.
    """
    counts = [count_mixed_questions(rows) for rows in judged]
    shares = [mixed / questions if questions else 0.0 for questions, mixed in counts]
    best = min(range(len(shares)), key=lambda place: (-shares[place], temperatures[place]))
    return [
        TriedTemperature(temperature=temperature, questions=questions, mixed=mixed, chosen=place == best)
        for place, (temperature, (questions, mixed)) in enumerate(zip(temperatures, counts, strict=True))
    ]
