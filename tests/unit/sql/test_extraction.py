"""SQL out of free text."""

import random
import time

import pytest

from shared.sql.extraction import extract_sql, find_sql
from shared.sql.reasoning import blank_reasoning
from tests.support.benchmarks import needs_data, read_json, spider_predictions

SQL = S = "SELECT name FROM singer"
B = "SELECT count(*)\nFROM books\n\nWHERE genre = 'poetry'"


@pytest.mark.parametrize(
    ("answer", "sql"),
    [
        (SQL, SQL),
        (f"{SQL};", SQL),
        (f"```sql\n{SQL};\n```\nThis gives all names.", SQL),
        (f"```python\nprint(1)\n```\n```sql\n{SQL}\n```", SQL),
        (f"```{SQL}", SQL),
        (f"Here is the query: {SQL}; It's simple.", SQL),
        (f"I select the names with care.\n{SQL}\n\nSELECT 2", SQL),
        (f"SQL: {SQL}", SQL),
        (f"<think>SELECT 1? No.</think>\n{SQL}", SQL),
        ("SELECT a FROM t WHERE b = 'x; y' ; SELECT 2", "SELECT a FROM t WHERE b = 'x; y'"),
        ("SELECT a /* ; it's */ FROM t; more", "SELECT a /* ; it's */ FROM t"),
        ("SELECT a -- why; so\nFROM t; more", "SELECT a -- why; so\nFROM t"),
        ("WITH t AS (SELECT 1) SELECT * FROM t", "WITH t AS (SELECT 1) SELECT * FROM t"),
        ("With pleasure! select 1", "select 1"),
        ("WITH RECURSIVE n(i) AS (SELECT 1) SELECT i FROM n;", "WITH RECURSIVE n(i) AS (SELECT 1) SELECT i FROM n"),
        ("I cannot answer this with the tables shown.", None),
        ("<!doctype html><html><body>Sign in</body></html>", None),
        ("", None),
        ("   \n", None),
        ("```sql\n```", None),
        ("DELETE FROM singer", None),
    ],
)
def test_extraction(answer: str, sql: str | None) -> None:
    assert extract_sql(answer) == sql


# (answer, the statement in it): how models dress SQL, and what must not be taken for a dress.
SHAPES = [
    (f"```sql\n{B};\n```", B),
    (f"{B};", B),
    (f"{B}\n\nThis counts the books.", B),
    (f"```sql\n{B}", B),
    (f"~~~sql\n{B}\n~~~", B),
    ("Sure!\n\n1. Query:\n   ```sql\n   SELECT a\n   FROM t\n   ```\n", "SELECT a\nFROM t"),
    ("> ```sql\n> SELECT a\n> FROM t\n> ```", "SELECT a\nFROM t"),
    ("````markdown\n```sql\nSELECT 1\n```\n````", "SELECT 1"),
    ("```markdown\n```sql\nSELECT 1\n```\n```", "SELECT 1"),
    ("```sql\r\nSELECT a\r\n\r\nFROM t\r\n```\r\nok", "SELECT a\r\n\r\nFROM t"),
    ("```sql\nSELECT 'a\n\nb'\n```", "SELECT 'a\n\nb'"),
    ("SELECT 'a\n\nb' FROM t", "SELECT 'a\n\nb' FROM t"),
    ("```sql\nSELECT '```' FROM t\n```", "SELECT '```' FROM t"),
    ("```sql\nSELECT 'a\n```\nb' FROM t\n```\n", "SELECT 'a\n```\nb' FROM t"),
    (
        "```sql\nWITH a AS (\n  SELECT 1 AS x\n)\n\n, b AS (SELECT 2 AS y)\n\nSELECT x FROM a, b\n```",
        "WITH a AS (\n  SELECT 1 AS x\n)\n\n, b AS (SELECT 2 AS y)\n\nSELECT x FROM a, b",
    ),
    (
        "WITH a AS (\n  SELECT 1 AS x\n)\n\nSELECT x FROM a\n\nThis is it.",
        "WITH a AS (\n  SELECT 1 AS x\n)\n\nSELECT x FROM a",
    ),
    ("SELECT a FROM t\n\nUNION\n\nSELECT b FROM u\n\nExplanation: both", "SELECT a FROM t\n\nUNION\n\nSELECT b FROM u"),
    ("[THINK]SELECT 1? It's no.[/THINK]" + S, S),
    ("<thinking>SELECT 1</thinking>" + S, S),
    ("<think>\nmaybe " + S, None),
    ("<thinking>SELECT 1", None),
    ("maybe SELECT 0 FROM x</think>\n" + S, S),
    ("<reasoning>\n```sql\nSELECT 0\n```\n</reasoning>\n```sql\n" + S + "\n```", S),
    (
        "<|channel|>analysis<|message|>SELECT 0<|end|><|start|>assistant<|channel|>final<|message|>" + S + "<|return|>",
        S,
    ),
    ("<|channel|>analysis<|message|>SELECT 0", None),
    ("analysisWe need SELECT 0 FROM x.assistantfinal" + S, S),
    ("Here is my thought process:\nSELECT 0\nHere is my response:\n" + S, S),
    ("Here's my thought process: SELECT 0", None),
    ("<think>a</think><think>SELECT 3</think>" + S, S),
    ("<thinking><reflection>SELECT 0</reflection>SELECT 9</thinking><output>" + S + "</output>", S),
    ("◁think▷SELECT 0◁/think▷" + S, S),
    ("<|START_THINKING|>SELECT 0<|END_THINKING|><|START_RESPONSE|>" + S + "<|END_RESPONSE|>", S),
    ("<seed:think>SELECT 0</seed:think>" + S, S),
    ("<|channel>thought\nSELECT 0<channel|>" + S, S),
    ("SELECT a FROM t WHERE b = '<think>'", "SELECT a FROM t WHERE b = '<think>'"),
    ("SELECT a FROM t WHERE b LIKE '%</think>%'", "SELECT a FROM t WHERE b LIKE '%</think>%'"),
    ("```sql\nSELECT a FROM t WHERE b = '<|im_end|>'\n```", "SELECT a FROM t WHERE b = '<|im_end|>'"),
    ('{"sql": "SELECT name FROM singer"}', S),
    ('```json\n{"sql": "SELECT name\\nFROM singer WHERE a = \\"x\\""}\n```', 'SELECT name\nFROM singer WHERE a = "x"'),
    ('Here is the answer: {"query": "SELECT name FROM singer;"} ok', S),
    ("{'sql': 'SELECT name FROM singer'}", S),
    ('{"reasoning": "SELECT is needed", "sql": "SELECT name FROM singer", "x": 1}', S),
    ('{"answer": {"sql": "```sql\\nSELECT name FROM singer\\n```"}}', S),
    ('[{"sql": "SELECT name FROM singer"}]', S),
    ('{"sql": "SELECT name FROM singer', S),
    ("<sql>SELECT name FROM singer</sql>", S),
    ("<answer>\n```sql\nSELECT name FROM singer;\n```\n</answer>", S),
    ("<sql>SELECT a FROM t WHERE a &lt; 5</sql>", "SELECT a FROM t WHERE a < 5"),
    ("[SQL]SELECT name FROM singer[/SQL]", S),
    (S + "<|im_end|>\n<|im_start|>user\nSELECT 2", S),
    (S + "</s>", S),
    (S + "<|eot_id|>", S),
    ("<|begin_of_box|>" + S + "<|end_of_box|>", S),
    (S + "<|endoftext|>SELECT 9", S),
    ("<s>" + S, S),
    ("<|start_header_id|>assistant<|end_header_id|>\n\n" + S + "<|eot_id|>", S),
    ("“SELECT name FROM singer”", S),
    ("`SELECT name FROM singer`", S),
    ('"SELECT name FROM singer"', S),
    ("SELECT name FROM singer；谢谢", S),
    ("'SELECT name FROM singer'", S),
    ("The query is `SELECT name FROM singer`, which lists names.", S),
    ("Use \"SELECT name FROM singer WHERE x = 'a'\" for it.", "SELECT name FROM singer WHERE x = 'a'"),
    ("Here is the query: SELECT name FROM singer; This query lists", S),
    ("Here is the query: SELECT name FROM singer. It lists all names.", S),
    ("SELECT name FROM singer\nThis query returns all names.", S),
    ("SELECT name FROM singer\n\nThis query returns", S),
    ("SELECT name FROM singer\nIt's simple.", S),
    ("**SQL:** SELECT name FROM singer", S),
    ("1. SELECT name FROM singer", S),
    ("sqlite> SELECT name FROM singer;", S),
    ("SQL query:\nSELECT name FROM singer\nExplanation: x", S),
    ("Select the rows where genre is poetry.\nSELECT name FROM singer", S),
    ("I cannot select a column.", None),
    ("SELECT FROM WHERE", "SELECT FROM WHERE"),
    ('```python\nq = """\nSELECT name FROM singer\n"""\nprint(q)\n```', S),
    ('```python\ncur.execute("SELECT name FROM singer")\n```', S),
    ("```python\nx = 'SELECT 0'\n```\n```sql\nSELECT name FROM singer\n```", S),
    ("```sql\nSELECT 1\n\nSELECT 2\n```", "SELECT 1"),
    ("```sql\nCREATE VIEW v AS SELECT 1;\nSELECT name FROM singer\n```", S),
    ("```sql\nDELETE FROM singer\n```", None),
    ("CREATE TABLE x AS SELECT 1", None),
    ("```sql\n-- it's the list; all\nSELECT name FROM singer -- it's\n```", "SELECT name FROM singer -- it's"),
    ("```sql\n/* SELECT old\nFROM x */\nSELECT name FROM singer\n```", S),
    ("```sql\nSELECT name FROM singer\n```\n\n```sql\nSELECT 2\n```", S),
    ("```sql\nSELECT name FROM singer```", S),
    ("```sql SELECT name FROM singer```", S),
    ("```SELECT name FROM singer```", S),
    ("(SELECT name FROM singer)", S),
    ("```\n(SELECT a FROM t) UNION (SELECT b FROM u)\n```", "(SELECT a FROM t) UNION (SELECT b FROM u)"),
    ("SELECT name FROM singer\n```\nrye\n```", S),
    ("Select name\nFrom singer\n\nWhere x = 1", "Select name\nFrom singer\n\nWhere x = 1"),
    (
        "select name\nfrom singer\n\nwhere x = 1\n\nand this is it",
        "select name\nfrom singer\n\nwhere x = 1\n\nand this is it",
    ),
    ("SELECT CASE WHEN a THEN 1\n\nELSE 2 END\nFROM t", "SELECT CASE WHEN a THEN 1\n\nELSE 2 END\nFROM t"),
    ("SELECT a FROM t WHERE b IN (\n\nSELECT 1\n\n)", "SELECT a FROM t WHERE b IN (\n\nSELECT 1\n\n)"),
    (
        "SELECT DISTINCT T1.name FROM a AS T1 JOIN b ON a.x = b.y WHERE b.z = 'It''s; so' LIMIT 1",
        "SELECT DISTINCT T1.name FROM a AS T1 JOIN b ON a.x = b.y WHERE b.z = 'It''s; so' LIMIT 1",
    ),
]


@pytest.mark.parametrize(("answer", "sql"), SHAPES)
def test_every_dress_is_taken_off_and_nothing_else(answer: str, sql: str | None) -> None:
    assert extract_sql(answer) == sql
    windows = answer.replace("\r\n", "\n").replace("\n", "\r\n")
    if '"' not in answer:  # in JSON a line's end is written out
        assert (extract_sql(windows) or "").split() == (sql or "").split()


STATEMENTS = [
    B,
    "WITH a AS (\n  SELECT 1 AS x\n)\n\nSELECT x\n\nFROM a",
    "SELECT a FROM t\n\nUNION ALL\n\nSELECT b FROM u",
    "SELECT 'It''s;\n\n```\n</sql> <think>' AS x,\n\n  \"a;b\"\nFROM t -- it's; so\n\nORDER BY 1",
    "SELECT a\nFROM t\nWHERE b IN (\n\n  SELECT b FROM u -- (\n\n)\nLIMIT 3",
    "select a,\n\n  case when b then 1\n\n  else 2 end\n\nfrom t\n\ngroup by 1",
]
DRESSES = [
    "{}",
    "{};",
    "```sql\n{}\n```",
    "```\n{};\n```\nThis query answers it. Isn't it simple?",
    "Sure, here's the query:\n\n~~~sqlite\n{}\n~~~",
    "````sql\n{}\n````",
    "<think>Let's see: SELECT 0 FROM x. It's\n\n```sql\nSELECT 0\n```</think>\n{}",
    "[THINK]SELECT 0[/THINK]```sql\n{};\n```",
    "wait, SELECT 0 FROM x</think>\n\n{}<|im_end|>",
    "<|channel|>analysis<|message|>SELECT 0<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "{};</s>",
    "```sql\n{}\n```<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n```sql\nSELECT 0\n```",
    "SQL:\n{}\n\nExplanation: It's the SELECT 0 of all.",
    "```sql\n{}\n",
]


# A fence inside a literal of a fence that is never closed is its end.
DRESSED = [(sql, dress) for sql in STATEMENTS for dress in DRESSES if dress != DRESSES[-1] or "```" not in sql]


@pytest.mark.parametrize(("sql", "dress"), DRESSED)
def test_what_was_written_is_what_is_read(sql: str, dress: str) -> None:
    for last in (False, True):
        reading = find_sql(dress.format(sql), last=last)
        assert reading is not None
        assert (reading.sql, reading.rest) == (sql, "")


@pytest.mark.parametrize("sql", [one for one in STATEMENTS if "</sql>" not in one])
def test_tags_and_json_are_delimiters(sql: str) -> None:
    import json

    for answer in (
        f"<sql>\n{sql}\n</sql>",
        f"So:\n<answer>```sql\n{sql};\n```</answer> done",
        json.dumps({"reasoning": "SELECT 0 FROM x", "sql": sql}),
        f"```json\n{json.dumps({'answer': {'query': sql + ';'}}, indent=1)}\n```",
        "Here it is: " + json.dumps([{"SQL Query": sql}]),
    ):
        assert extract_sql(answer) == sql


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        (f"```sql\n{SQL};\n-- all; of them\n/* it's so */;\n```", ""),
        (f"```sql\n-- first\nSQL: {SQL}\n```", ""),
        (f"```sql\n{SQL};\nWHERE genre = 'poetry'\n```", "WHERE genre = 'poetry'"),
        (f"```sql\n{SQL}\n\nSELECT 2\n```", "SELECT 2"),
        (f"```sql\nCREATE VIEW v AS SELECT 1;\n{SQL}\n```", "CREATE VIEW v AS SELECT 1"),
    ],
)
def test_what_a_fence_holds_beside_the_statement_is_told(answer: str, rest: str) -> None:
    reading = find_sql(answer)
    assert reading is not None
    assert (reading.sql, reading.rest) == (SQL, rest)


def test_thoughts_are_blanked_in_their_place() -> None:
    answer = f"<think>SELECT 0\n</think>{SQL}"
    assert blank_reasoning(answer) == "\f" * answer.index(SQL) + SQL
    assert blank_reasoning(SQL) == SQL
    assert not blank_reasoning("<thinking>" * 5000).strip()


FLOODS = [
    "with select ",
    "'",
    "```",
    "```sql\n",
    "<sql>",
    "<think>",
    "</think>",
    "<think></think>\nSELECT 1\n",
    '{"',
    "(",
    '{"sql": "SELECT 1 ',
    "SELECT (",
    "SELECT a FROM t\n",
    "SELECT a FROM t\n\n",
    ": ",
    "*",
    "SELECT '",
    "[",
    "/*",
    "```\nSELECT '\n",
    "<answer>SELECT 1",
    "WITH a (",
    'with "a',
    '[["sql",',
    "\n",
    " ",
    "`SELECT a ",
    "(SELECT 1",
    "<|im_end|>",
    "~~~\n",
    "SELECT \n```",
    "> ",
    "1. SELECT ",
    "SELECT a.b. This is ",
    "SELECT CASE ",
    "“SELECT 1 ",
    "select x with a as (select 1) ",
    "<sql>&lt;SELECT 1</sql>",
    "```\n`````sql\n",
    "EXPLAIN ",
    "INSERT INTO x ",
]


@pytest.mark.parametrize("piece", FLOODS)
def test_reading_is_linear(piece: str) -> None:
    """Twice the text takes about twice the time, whatever it is made of; the bound leaves room for a busy machine."""

    def seconds(size: int) -> float:
        text = piece * (size // len(piece)) + f"\n{SQL}"
        began = time.process_time()
        for last in (False, True):
            find_sql(text, last=last)
        return time.process_time() - began

    small = max(seconds(25_000), 0.005)
    # the shorter of two: a collection of the whole process's garbage may fall into one of them
    assert min(seconds(200_000), seconds(200_000)) < 40 * small


def test_a_flood_of_text_is_read_in_linear_time() -> None:
    flood = "with select " * 20_000
    assert extract_sql(f"{flood}\n{SQL}") is not None
    assert extract_sql("'" * 100_000) is None
    assert extract_sql("```" * 50_000) is None
    assert len(extract_sql("SELECT " + "name, " * 10_000) or "") > 50_000
    assert extract_sql(f"{SQL}, " + "name, " * 100_000) is None
    assert extract_sql(f"<think>{'x ' * 400_000}</think>{SQL}") == SQL


def test_any_mixture_of_marks_is_read_without_a_fault() -> None:
    rng = random.Random(7)
    pieces = [piece for piece in FLOODS if len(piece) < 30]
    pieces += [SQL, "```", ";", "\r\n", "This is it. ", "[THINK]", "[/THINK]", '"}', "</sql>", "</answer>", "]]>", "*/"]
    for _ in range(3000):
        answer = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 30)))
        for last in (False, True):
            reading = find_sql(answer, last=last)
            if reading is not None:
                assert reading.sql and reading.sql == reading.sql.strip()
                assert 0 <= reading.begin < len(answer)


@needs_data
def test_real_predictions_read_as_they_are() -> None:
    """Four systems' files for Spider and two for BIRD: statements, bare and fenced, asked for first or last."""
    names = ("c3_chatgpt", "dail_sql_gpt4", "din_sql_gpt4", "graphix_t5_3b")
    texts = [text for name in names for text in spider_predictions(name)]
    for name in ("bird_dev/chatgpt_knowledge", "bird_minidev/predict_mini_dev_gpt-4-turbo_cot_SQLite"):
        said = read_json(f"predictions/{name}.json").values()
        texts += [one.split("\t----- bird -----\t")[0] for one in said if isinstance(one, str)]
    other = []
    for text in texts:
        bare = text.strip().rstrip("; ")
        read = {
            extract_sql(dress.format(text), last=last) for dress in ("{}", "```sql\n{}\n```") for last in (False, True)
        }
        if read != {bare}:
            other.append(bare)
    # No statement at all, several of them, or a full stop behind one.
    assert len(texts) > 6000
    assert len(other) < 60
    assert all(";" in one or one.endswith(".") or not one.upper().startswith(("SELECT ", "WITH ")) for one in other)
