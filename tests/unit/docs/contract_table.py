"""The contract table of docs/architecture.md, made from the registry.

`python -m tests.unit.docs.contract_table` writes it into the page.
"""

from pathlib import Path

from shared.contracts.base import TaskContract
from shared.contracts.registry import CONTRACTS

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"
BEGIN, END = "<!-- contracts -->", "<!-- /contracts -->"
HEAD = ("task", "own fields of its command", "fact", "counts", "outputs", "limit", "attempts")


def cells(contract: TaskContract) -> list[str]:
    """One row; every command also carries the fields of `Command`."""
    own = [name for name in contract.command.model_fields if name in contract.static_fields()]
    limit = "lease" if contract.hard_limit_s is None else f"{contract.hard_limit_s} s"
    return [
        f"`{contract.name}`",
        ", ".join(own) or "none",
        f"`{contract.event}`",
        ", ".join(contract.counts.model_fields),
        ", ".join(contract.outputs) or "none",
        limit,
        str(contract.max_attempts),
    ]


def render_table() -> str:
    """Markdown, one row a contract in the registry's order."""
    rows = [list(HEAD), ["---"] * len(HEAD), *[cells(contract) for contract in CONTRACTS.values()]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def split_page(text: str) -> tuple[str, str, str]:
    """What stands before, between and after the markers."""
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    return before, table.strip(), after


def main() -> None:
    """Replaces the table between the markers."""
    before, _, after = split_page(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(f"{before}{BEGIN}\n{render_table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
