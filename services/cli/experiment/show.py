"""The factorial experiment for a person."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from services.cli.experiment.analysis import CellScore, Contrast

if TYPE_CHECKING:
    from rich.console import Console


def percent(value: float | None) -> str:
    """Percentage points, or a dash."""
    return "–" if value is None else f"{100 * value:.1f}"


def show(cells: Sequence[CellScore], found: Sequence[Contrast], out: "Console") -> None:
    """A table of cells, then every contrast with its verdict in a sentence."""
    if not cells:
        out.print("No job succeeded, so there is nothing to compare.")
        return
    table = Table("Test set", "Data", "Seeds", "Execution accuracy, %", title="Cells")
    for cell in cells:
        table.add_row(cell.set, cell.cell, str(cell.seeds), percent(cell.accuracy))
    out.print(table)
    for one in found:
        interval = f"[{percent(one.low)}, {percent(one.high)}]" if one.low is not None else "no interval (one database)"
        seeds = " ".join(f"{100 * value:+.1f}" for value in one.by_seed)
        text = f"{one.set}: {one.name}: {100 * one.mean:+.1f} points, 95 % {interval} over {one.databases} databases"
        out.print(f"{text}, {one.seeds} seeds ({seeds}): {one.verdict}.", markup=False)
    if not any(one.decides for one in found):
        out.print("No job trained by preference (too few pairs?): nothing can be said about DPO.", markup=False)
