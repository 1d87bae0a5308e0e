"""What a model is taught to say: the SQL alone, or short reasoning and then the SQL in a fence."""

import re

from shared.contracts.records import Target
from shared.sql.extract import sql_begin
from shared.sql.outline import outline
from shared.sql.statement import OPENING
from shared.sql.thoughts import without_thoughts

WRAPPING = re.compile(
    r"(?:`{3,}+|~{3,}+)(?:sqlite|sql)?|</?(?:sql|sqlite|query|answer|final_answer|solution)>", re.IGNORECASE
)


def answer_text(target: Target, sql: str, reasoning: str | None = None) -> str:
    """The completion of one example. Where no one has written reasoning, an outline of the SQL stands for it."""
    if target == "sql":
        return sql
    said = " ".join((reasoning or outline(sql)).split())
    return f"{said}\n```sql\n{sql.strip().rstrip(';').rstrip()}\n```"


def reasoning_of(answer: str) -> str:
    """What an answer says before its SQL, without a reasoning model's thoughts; empty where it begins with it, or has
    none."""
    begin = sql_begin(answer, last=True)
    said = without_thoughts(answer)[: begin or 0]
    said = " ".join(WRAPPING.sub(" ", said).split())
    return said.rstrip(f"{OPENING}( ") if any(char.isalnum() for char in said) else ""
