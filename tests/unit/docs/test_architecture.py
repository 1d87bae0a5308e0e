"""The architecture page says what the code says, and all pages point at files and headings that exist."""

import re
from pathlib import Path

import pytest

from shared.contracts.base import Queue
from shared.contracts.registry import CONTRACTS
from tests.unit.docs.contract_table import PAGE, render_table, split_page

ROOT = Path(__file__).parents[3]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *DECISIONS]
IN_REPO = re.compile(r"`((?:services|shared|infra|tests|docs)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_contract_table_is_not_stale() -> None:
    _, table, _ = split_page(PAGE.read_text(encoding="utf-8"))
    assert table == render_table(), "run: python -m tests.unit.docs.contract_table"


def test_table_names_every_contract_once() -> None:
    table = render_table()
    assert all(table.count(f"| `{name}` |") == 1 for name in CONTRACTS)
    assert len(table.splitlines()) == len(CONTRACTS) + 2


def test_every_queue_is_in_the_table_of_services() -> None:
    before, _, _ = split_page(PAGE.read_text(encoding="utf-8"))
    assert [queue.value for queue in Queue if f"| `{queue.value}` |" not in before] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_point_at_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = [ROOT / path for path in IN_REPO.findall(text)]
    linked = [page.parent / path for path in LINK.findall(text)]
    assert [str(path) for path in [*named, *linked] if not path.exists()] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_point_at_headings_that_exist(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    targets = [(page.parent / path if path else page, anchor) for path, anchor in linked]
    assert [f"{path.name}#{anchor}" for path, anchor in targets if anchor not in anchors(path)] == []


def test_there_is_a_page_to_check_for_each_decision() -> None:
    numbers = [page.name[:4] for page in DECISIONS]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    assert numbers
