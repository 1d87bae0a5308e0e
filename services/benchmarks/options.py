"""The options of an evaluation, checked before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from services.evaluation.metrics.quirks import Mode
from shared.contracts.records import Policy
from shared.errors import InvalidInputError

Benchmark = Literal["spider", "bird"]
SPIDER_METRICS = ("ex", "ts", "em")
BIRD_METRICS = ("ex", "f1", "ves", "rves")
DEFAULT_METRICS = {"spider": "ex,em", "bird": "ex,f1"}
DEADLINES = {"spider": 10.0, "bird": 30.0}  # Spider's own has none; BIRD's own is 30 s for gold and prediction together
# Golds get ten times as long: a gold that times out loses its question for every system.
GOLD_FACTOR = 10
SHOWN_ROWS = 20  # of each result, in the files that show results


@dataclass(frozen=True)
class Options:
    """`mode` decides what a score means; with `both`, the other mode's scores stand beside."""

    benchmark: Benchmark
    gold: Path
    pred: Path
    db: Path
    tables: Path | None
    metrics: tuple[str, ...]
    mode: Mode = "official"
    both: bool = True
    deadline_s: float = 10.0
    children: int = 2
    lenient: bool = False
    keep_distinct: bool = False
    plug_value: bool = False
    show_all: bool = False  # results of right answers too
    ves_runs: int = 100

    @property
    def official_policy(self) -> Policy:
        return Policy.SPIDER if self.benchmark == "spider" else Policy.BIRD

    @property
    def modes(self) -> tuple[Mode, ...]:
        if not self.both:
            return (self.mode,)
        return ("official", "strict") if self.mode == "official" else ("strict", "official")


def checked_benchmark(name: str) -> Benchmark:
    """Raises InvalidInputError for an unknown name."""
    if name not in get_args(Benchmark):
        raise InvalidInputError(f"no benchmark is called {name!r}; known are {', '.join(get_args(Benchmark))}")
    return "spider" if name == "spider" else "bird"


def checked_mode(name: str) -> Mode:
    """Raises InvalidInputError for an unknown name."""
    if name not in ("official", "strict"):
        raise InvalidInputError(f"no mode is called {name!r}; known are official, strict")
    return "official" if name == "official" else "strict"


def checked_metrics(benchmark: Benchmark, text: str | None) -> tuple[str, ...]:
    """Metrics in the benchmark's order. Raises InvalidInputError for unknown ones."""
    known: Sequence[str] = SPIDER_METRICS if benchmark == "spider" else BIRD_METRICS
    chosen = [name.strip().lower() for name in (text or DEFAULT_METRICS[benchmark]).split(",") if name.strip()]
    wrong = [name for name in chosen if name not in known]
    if wrong or not chosen:
        raise InvalidInputError(
            f"{benchmark} has no metric {', '.join(wrong) or '(none given)'}; it has {', '.join(known)}"
        )
    return tuple(name for name in known if name in chosen)
