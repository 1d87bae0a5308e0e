"""The style probe: do length and case alone tell chosen from rejected?

A logistic regression on features of writing is fitted on one half of the questions and scored on the other, both ways
round. Its AUC is 0.5 where style says nothing, and 1 where a model could learn style instead of SQL. The card prints it
without a threshold: shorter can simply be righter.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.pairing.collect import draw_key
from shared.contracts.records import Pair

MAX_PAIRS = 2000  # drawn by seed from larger sets
STEPS = 12  # of Newton's method
RIDGE = 1.0
Vector = list[float]


@dataclass(frozen=True)
class StyleProbe:
    """`auc` is None where there are too few pairs to fit anything."""

    auc: float | None
    pairs: int


def style_features(text: str) -> Vector:
    """Length in characters and words (as logarithms), word length, case, digits, quotes and brackets, as shares."""
    size, words = max(len(text), 1), max(len(text.split()), 1)
    letters = max(sum(char.isalpha() for char in text), 1)
    return [
        math.log(size),
        math.log(words),
        size / words,
        sum(char.isupper() for char in text) / letters,
        sum(word.isupper() for word in text.split()) / words,
        sum(char.isdigit() for char in text) / size,
        sum(char in "'\"`[" for char in text) / size,
        text.count("(") / words,
    ]


def probe_style(pairs: Sequence[Pair], seed: int) -> StyleProbe:
    """The probe over at most MAX_PAIRS pairs, drawn by seed; both sides of a question are in the same half."""
    drawn = sorted(pairs, key=lambda pair: draw_key(seed, pair))[:MAX_PAIRS]
    halves: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in drawn:
        by_question = hashlib.sha256(f"{seed}\x1f{pair.example_id}".encode()).digest()
        # One bit of a hash of the question, so that all pairs of a question share a half.
        halves[by_question[0] // 16 % 2].append(pair)
    if min(map(len, halves)) < 10:
        return StyleProbe(None, len(drawn))
    scores = [held_out_auc(halves[1], halves[0]), held_out_auc(halves[0], halves[1])]
    return StyleProbe(sum(scores) / 2, len(drawn))


def held_out_auc(fitted_on: Sequence[Pair], scored_on: Sequence[Pair]) -> float:
    right = [style_features(pair.chosen) for pair in fitted_on]
    wrong = [style_features(pair.rejected) for pair in fitted_on]
    # Measured on the fitted half only: the other half has to stay unseen.
    centre, spread = mean_and_spread(right + wrong)
    rows = [standardize(row, centre, spread) for row in right + wrong]
    weights = fit_logistic_regression(rows, [1.0] * len(right) + [0.0] * len(wrong))

    def score(text: str) -> float:
        return dot(weights, standardize(style_features(text), centre, spread))

    return auc([score(pair.chosen) for pair in scored_on], [score(pair.rejected) for pair in scored_on])


def mean_and_spread(rows: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Mean and standard deviation of each feature; 1 where it does not vary."""
    columns = list(zip(*rows, strict=True))
    centre = [math.fsum(column) / len(column) for column in columns]
    spread = [
        math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column)) or 1.0
        for column, mean in zip(columns, centre, strict=True)
    ]
    return centre, spread


def standardize(row: Vector, centre: Vector, spread: Vector) -> Vector:
    """The standardized features, with a constant in front."""
    return [1.0, *((value - mean) / width for value, mean, width in zip(row, centre, spread, strict=True))]


def dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def fit_logistic_regression(rows: Sequence[Vector], labels: Sequence[float]) -> Vector:
    """Weights of a ridge logistic regression, by Newton's method (its linear system is positive definite)."""
    width = len(rows[0])
    weights = [0.0] * width
    for _ in range(STEPS):
        gradient = [-RIDGE * weight for weight in weights]
        curvature = [[RIDGE if a == b else 0.0 for b in range(width)] for a in range(width)]
        for row, label in zip(rows, labels, strict=True):
            # The exponent is bounded, because exp would overflow.
            chance = 1 / (1 + math.exp(-max(-30.0, min(30.0, dot(weights, row)))))
            certain = chance * (1 - chance)
            for a, value in enumerate(row):
                gradient[a] += (label - chance) * value
                scaled, line = certain * value, curvature[a]
                # The matrix is symmetric: half of it is summed here and mirrored below.
                for b in range(a + 1):
                    line[b] += scaled * row[b]
        for a in range(width):
            for b in range(a):
                curvature[b][a] = curvature[a][b]
        step = solve_linear_system(curvature, gradient)
        weights = [weight + change for weight, change in zip(weights, step, strict=True)]
    return weights


def solve_linear_system(matrix: list[Vector], right: Vector) -> Vector:
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        # The largest pivot keeps rounding errors small.
        best = max(range(at, size), key=lambda place: abs(rows[place][at]))
        rows[at], rows[best] = rows[best], rows[at]
        for below in range(at + 1, size):
            ratio = rows[below][at] / rows[at][at]
            rows[below] = [a - ratio * b for a, b in zip(rows[below], rows[at], strict=True)]
    found = [0.0] * size
    for at in reversed(range(size)):
        known = sum(rows[at][place] * found[place] for place in range(at + 1, size))
        found[at] = (rows[at][size] - known) / rows[at][at]
    return found


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The chance that a right one scores above a wrong one; a tie counts half."""
    ranked = sorted([(value, 1) for value in right] + [(value, 0) for value in wrong])
    total, place = 0.0, 0
    while place < len(ranked):
        end = place
        while end < len(ranked) and ranked[end][0] == ranked[place][0]:
            end += 1
        # Ties share the mean of their ranks (the rank-sum form of the AUC).
        middle = (place + 1 + end) / 2
        total += middle * sum(label for _, label in ranked[place:end])
        place = end
    return (total - len(right) * (len(right) + 1) / 2) / (len(right) * len(wrong))
