"""What prompts show, and what models are taught to say."""

import pytest

from shared.catalog.databases import ColumnCard, ForeignKeyCard, SchemaCard, TableCard
from shared.contracts.records import PromptStyle
from shared.sql.completion import extract_reasoning, outline_sql, render_completion
from shared.sql.extraction import extract_sql, sql_start
from shared.sql.prompt import SYSTEM_PROMPT, prompt_version, render_messages, render_schema

CARD = SchemaCard(
    database_id="0",
    tables=[
        TableCard(
            name="shop",
            ddl="CREATE TABLE shop(id INTEGER PRIMARY KEY, town TEXT)",
            columns=[
                ColumnCard(name="id", type="INTEGER", primary_key=True),
                ColumnCard(name="town", type="TEXT", comment="as on\nthe sign */ DROP"),
            ],
            row_count=1,
            sample_rows=[[1, "Ulm"], [2, "Linz"]],
            comment="our shops",
        ),
        TableCard(
            name="sale",
            ddl="CREATE TABLE sale(shop INTEGER)",
            columns=[ColumnCard(name="shop", type="INTEGER")],
            foreign_keys=[ForeignKeyCard(column="shop", to_table="shop", to_column="id")],
            row_count=0,
        ),
    ],
)
PLAIN = """CREATE TABLE shop(id INTEGER PRIMARY KEY, town TEXT);
/* first rows:
id | town
1 | Ulm
*/
CREATE TABLE sale(shop INTEGER);"""
WHOLE = """CREATE TABLE shop(id INTEGER PRIMARY KEY, town TEXT);
/* comments:
our shops
town: as on the sign * / DROP
*/
/* first rows:
id | town
1 | Ulm
*/
CREATE TABLE sale(shop INTEGER);
/* foreign keys:
sale.shop = shop.id
*/"""


def test_comments_and_keys_are_shown_where_they_are_wanted() -> None:
    assert render_schema(CARD, 1) == PLAIN
    assert render_schema(CARD, 1, PromptStyle(comments=True, foreign_keys=True)) == WHOLE
    assert render_schema(CARD, 0, PromptStyle(comments=True)).count("/*") == 1


def test_the_target_decides_the_first_turn_and_the_shots() -> None:
    reasoning = PromptStyle(target="reasoning_sql")
    shots = [(CARD, "How many?", "SELECT COUNT(*) FROM shop")]
    plain, long = (render_messages(CARD, "Q?", style=style, shots=shots) for style in (PromptStyle(), reasoning))
    assert plain[0].content == SYSTEM_PROMPT and "short sentences" in long[0].content
    assert plain[2].content == "SELECT COUNT(*) FROM shop"
    assert long[2].content == (
        "The rows come from shop. The answer shows COUNT(*).\n```sql\nSELECT COUNT(*) FROM shop\n```"
    )
    assert plain[3] == long[3] and plain[1] == long[1]


def test_the_version_says_what_is_set() -> None:
    assert prompt_version(3) == "create-select/1 rows=3"
    style = PromptStyle(comments=True, foreign_keys=True, target="reasoning_sql")
    assert prompt_version(0, style) == "create-select/1 rows=0+comments+foreign_keys+reasoning_sql"


@pytest.mark.parametrize("reasoning", [None, "We select what we need, with care.", "SELECT is not needed first."])
@pytest.mark.parametrize("sql", ["SELECT 1;", "WITH a AS (SELECT 1 AS x) SELECT x FROM a", "SELECT 'a\n\nb'"])
def test_what_is_taught_is_what_is_found(sql: str, reasoning: str | None) -> None:
    text = render_completion("reasoning_sql", sql, reasoning)
    assert extract_sql(text, last=True) == sql.rstrip(";")
    assert extract_reasoning(text) == (reasoning or " ".join(outline_sql(sql).split()))
    assert render_completion("sql", sql, reasoning) == sql


@pytest.mark.parametrize(
    ("answer", "first", "last"),
    [
        ("```sql\nSELECT 1\n```\nbetter:\n```sql\nSELECT 2\n```", "SELECT 1", "SELECT 2"),
        ("SELECT 1;\nthen\nSELECT 2;", "SELECT 1", "SELECT 2"),
        ("We select a.\n```sql\nSELECT 2\n```\nDone, with ```no sql```.", "SELECT 2", "SELECT 2"),
        ("<think>```sql\nSELECT 0\n```</think>SELECT 1", "SELECT 1", "SELECT 1"),
        ("nothing", None, None),
    ],
)
def test_reasoning_is_followed_by_the_last_statement(answer: str, first: str | None, last: str | None) -> None:
    assert extract_sql(answer) == first
    assert extract_sql(answer, last=True) == last
    begin = sql_start(answer, last=True)
    assert (begin is None) == (last is None)
    assert begin is None or answer[begin:].startswith(last or "")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "SELECT T2.town, COUNT(*) FROM sale AS T1 JOIN shop AS T2 ON T1.shop = T2.id WHERE T2.id > 1 "
            "GROUP BY T2.id HAVING COUNT(*) > 2 ORDER BY COUNT(*) DESC LIMIT 3",
            "The rows come from sale as T1, shop as T2, joined on T1.shop = T2.id. Only rows count where T2.id > 1. "
            "They are grouped by T2.id. Groups are kept where COUNT(*) > 2. The order is by COUNT(*) DESC. At most 3 "
            "row(s) are kept. The answer shows T2.town, COUNT(*).",
        ),
        ("SELECT DISTINCT town FROM shop", "The rows come from shop. The answer shows different values of town."),
        (
            "SELECT id FROM shop EXCEPT SELECT shop FROM sale",
            "Two queries are combined, the first one's rows without the second one's. The rows come from shop. The "
            "answer shows id.",
        ),
        ("SELECT x FROM (SELECT 1 AS x)", "The rows come from a subquery. The answer shows x."),
        ("SELECT 1", "No table is needed. The answer shows 1."),
        ("SELEC nonsense ((", "One query answers this."),
    ],
)
def test_an_outline_says_what_the_statement_does(sql: str, said: str) -> None:
    assert outline_sql(sql) == said
