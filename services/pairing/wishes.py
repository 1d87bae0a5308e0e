"""What a weak model fails at, as wishes for whoever writes more examples. Pure."""

from collections.abc import Iterable, Mapping

from shared.contracts.pairing import ErrorProfile, ProfileLine
from shared.contracts.records import Level, Wish
from shared.sql.features import FEATURES

# Answers that a line is taken to have at the overall rate, before its own are counted: few answers say little.
PRIOR = 16.0


def totals(lines: Iterable[ProfileLine]) -> tuple[int, int]:
    """(answers, those that were not right)."""
    found = [(line.answers, line.answers - line.correct) for line in lines]
    return sum(answers for answers, _ in found), sum(failed for _, failed in found)


def failing(line: ProfileLine, overall: float) -> float:
    """The share of a line's answers that was not right, drawn towards the overall one where they are few."""
    return (line.answers - line.correct + PRIOR * overall) / (line.answers + PRIOR)


def wishes_of(profile: ErrorProfile, levels: Mapping[Level, float]) -> list[Wish]:
    """Features that fail more often than the average answer, by how much more; levels by their share and how they fail.

    Weights of a kind add up to 1. Where nothing failed, or nothing could be told, there is no wish for a feature.
    """
    answers, failed = totals(profile.outcomes)
    overall = failed / answers if answers else 0.0
    excess = {
        line.name: failing(line, overall) - overall
        for line in profile.features
        if line.name in FEATURES and failing(line, overall) > overall + 1e-9
    }
    known = {line.name: failing(line, overall) / overall for line in profile.levels if overall}
    wanted: dict[str, float] = {level: share * known.get(level, 1.0) for level, share in levels.items() if share > 0}
    return [
        *(Wish(kind="feature", name=name, weight=weight) for name, weight in shares(excess).items()),
        *(Wish(kind="level", name=name, weight=weight) for name, weight in shares(wanted).items()),
    ]


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights as shares of their sum, largest first."""
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(weight / total, 6) for name, weight in ordered} if total else {}
