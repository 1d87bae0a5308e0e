"""What a model is taught to say: the SQL alone, or short reasoning and then the SQL in a fence."""

from shared.contracts.records import Target
from shared.sql.extract import sql_begin
from shared.sql.outline import outline


def answer_text(target: Target, sql: str, reasoning: str | None = None) -> str:
    """The completion of one example. Where no one has written reasoning, an outline of the SQL stands for it."""
    if target == "sql":
        return sql
    said = " ".join((reasoning or outline(sql)).split())
    return f"{said}\n```sql\n{sql.strip().rstrip(';').rstrip()}\n```"


def reasoning_of(answer: str) -> str:
    """What an answer says before its SQL; empty where it begins with it, or has none."""
    begin = sql_begin(answer, last=True)
    return " ".join(answer[: begin or 0].replace("```sqlite", " ").replace("```sql", " ").replace("```", " ").split())
