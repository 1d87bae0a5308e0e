"""Which temperature to sample at: the one at which most questions get right and wrong answers. Pure."""

from collections.abc import Iterable, Sequence

from services.pairing.sides import REJECTED
from shared.contracts.records import Judged, TriedTemperature, Verdict


def mixed_questions(judged: Iterable[Judged]) -> tuple[int, int]:
    """(questions, those with a right and a wrong answer)."""
    right: set[str] = set()
    wrong: set[str] = set()
    every: set[str] = set()
    for row in judged:
        name = row.candidate.example_id
        every.add(name)
        if row.verdict is Verdict.CORRECT:
            right.add(name)
        elif row.verdict in REJECTED:
            wrong.add(name)
    return len(every), len(right & wrong)


def choose(temperatures: Sequence[float], judged: Iterable[Iterable[Judged]]) -> list[TriedTemperature]:
    """One line a temperature, in their order, one of them chosen.

    Among equals the lowest is: its answers are nearest to what the model says when it is served.
    """
    counts = [mixed_questions(rows) for rows in judged]
    shares = [mixed / questions if questions else 0.0 for questions, mixed in counts]
    best = min(range(len(shares)), key=lambda place: (-shares[place], temperatures[place]))
    return [
        TriedTemperature(temperature=temperature, questions=questions, mixed=mixed, chosen=place == best)
        for place, (temperature, (questions, mixed)) in enumerate(zip(temperatures, counts, strict=True))
    ]
