"""Shortening rendered prompts: only example rows go, and what the renderer made is found again."""

import pytest

from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.contracts.records import Message
from shared.sql.prompt import SHORTENINGS, Shortening, render_messages, shorten_prompt, shorten_text


def table(name: str, rows: list[list[str | int | float | None]]) -> TableCard:
    columns = [ColumnCard(name="id", type="INT"), ColumnCard(name="note", type="TEXT")]
    ddl = f"CREATE TABLE {name} (id INT, note TEXT) /* a comment\n*/"
    return TableCard(name=name, ddl=ddl, columns=columns, row_count=len(rows), sample_rows=rows)


CARD = SchemaCard(
    database_id="d",
    tables=[
        table("first", [[1, "short"], [2, "a note of more than twelve"], [3, None]]),
        table("empty", []),
        table("last", [[4, "x | y"], [5, "line\nbreak"]]),
    ],
)
PROMPT = render_messages(CARD, "How many | rows?\n/* first rows:", evidence="None */ here")


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_rows_are_what_the_renderer_shows_with_fewer_rows(rows: int) -> None:
    wanted = render_messages(CARD, "How many | rows?\n/* first rows:", evidence="None */ here", rows=rows)
    found = [
        one.model_copy(update={"content": shorten_text(one.content, Shortening("x", rows=rows))}) for one in PROMPT
    ]
    assert found == wanted


def test_cells_are_clipped_and_nothing_else() -> None:
    text = shorten_text(PROMPT[-1].content, SHORTENINGS[0])
    assert text == PROMPT[-1].content.replace("a note of more than twelve", "a note of m…")


def test_the_first_step_that_fits_is_taken() -> None:
    def longest(found: list[Message]) -> int:
        return len(found[-1].content)

    sizes = [
        longest(PROMPT),
        *(longest(shorten_prompt(PROMPT, lambda _, s=step: False)[0]) for step in SHORTENINGS[-1:]),
    ]
    assert shorten_prompt(PROMPT, lambda _: True)[1].name == "whole"
    seen: list[int] = []
    _, step = shorten_prompt(PROMPT, lambda found: seen.append(longest(found)) or False)  # type: ignore[func-returns-value]
    assert step.name == "no_rows"
    assert seen == sorted(seen, reverse=True) and len(set(seen)) == 4
    assert seen[0] == sizes[0] and seen[-1] == sizes[-1]
    for size, name in zip(seen, ("whole", "clipped", "one_row", "no_rows"), strict=True):
        assert shorten_prompt(PROMPT, lambda found, most=size: longest(found) <= most)[1].name == name
