"""Exact set match over many questions, as the official report adds it up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.evaluation.benchmark.spider.exact import ExactScore
from services.evaluation.benchmark.spider.partials import COMPONENTS, Partial

LEVELS = ("easy", "medium", "hard", "extra", "all")


@dataclass(frozen=True)
class ComponentTotal:
    """One component: accuracy over predictions that have it, recall over golds that have it, and their F1.

    Where neither is above 0, `f1` is 1, as officially.
    """

    acc: float
    rec: float
    f1: float


@dataclass(frozen=True)
class ExactTotal:
    """One level: questions, the share that matches exactly, and the components in the official order."""

    count: int
    exact: float
    components: dict[str, ComponentTotal]


def total_by_level(scored: Iterable[tuple[str, ExactScore]]) -> dict[str, ExactTotal]:
    """(hardness, score) of each question -> the totals of each level and of "all", in the official order."""
    rows = list(scored)
    groups = {level: [score for found, score in rows if level in (found, "all")] for level in LEVELS}
    return {level: total(scores) for level, scores in groups.items()}


def total(scores: Sequence[ExactScore]) -> ExactTotal:
    """The totals of one level; an exact match of 0 without questions."""
    exact = sum(score.em for score in scores) / len(scores) if scores else 0.0
    counted = [score.partials for score in scores if score.partials]
    components = {name: component_total([partials[name] for partials in counted]) for name in COMPONENTS}
    return ExactTotal(len(scores), exact, components)


def component_total(partials: Sequence[Partial]) -> ComponentTotal:
    """One component's totals."""
    acc = mean([one.acc for one in partials if one.pred_total > 0])
    rec = mean([one.rec for one in partials if one.label_total > 0])
    return ComponentTotal(acc, rec, 1.0 if acc == rec == 0 else 2.0 * acc * rec / (acc + rec))


def mean(values: Sequence[float]) -> float:
    """The mean; 0 without values."""
    return sum(values) / len(values) if values else 0.0
