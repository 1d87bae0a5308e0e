"""What the serving service asks for: candidates run together for a vote, and a database from a script."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from services.sandbox.databases import seal_asked
from services.sandbox.desk import Caller, Desk, budget, get_desk, shown
from services.sandbox.execution import Execution
from services.sandbox.execution import Request as Statement
from services.sandbox.judge import now_ms
from services.sandbox.rules import Rule
from services.sandbox.script import CODE, split_script
from services.sandbox.text import has_outer_order_by
from shared.client.models import ExecuteRequest
from shared.client.sandbox_models import Run, RunAnswer, RunRequest, ScriptAnswer, ScriptRequest
from shared.errors import InvalidInputError
from shared.metrics import OUTCOMES

router = APIRouter()
AtDesk = Annotated[Desk, Depends(get_desk)]


@router.post("/runs")
async def run_together(desk: AtDesk, caller: Caller, asked: RunRequest) -> RunAnswer:
    """All of them, on one slot; what fails is an answer."""
    one = ExecuteRequest(database_id=asked.database_id, sql="", deadline_s=asked.deadline_s, max_rows=asked.max_rows)
    seconds, rows = budget(one, desk.settings)
    async with desk.queries.taken(caller):
        executions = await desk.off_loop(run_all, desk, asked, seconds, rows)
    for execution in executions:
        OUTCOMES.labels(outcome=execution.outcome.value).inc()
    return RunAnswer(runs=[as_run(execution) for execution in executions])


def run_all(desk: Desk, asked: RunRequest, seconds: float, rows: int) -> list[Execution]:
    """Order counts in a result where most of the statements ask for one."""
    path = desk.local(asked.database_id)
    ordered = sum(map(has_outer_order_by, asked.sqls)) * 2 > len(asked.sqls)
    rule = Rule("list" if ordered else "bag")
    now = now_ms()  # votes that ask for the time are told the same one
    try:
        return desk.pool.execute_many([Statement(path, sql, seconds, rows, rule, now_ms=now) for sql in asked.sqls])
    except InvalidInputError as error:
        message = f"database {asked.database_id} cannot be read any more; bring the same file again"
        raise InvalidInputError(message, code="invalid_database") from error


def as_run(execution: Execution) -> Run:
    """What the caller sees."""
    return Run(**shown(execution).model_dump(), fingerprint=execution.fingerprint if execution.complete else None)


@router.post("/scripts")
async def build(desk: AtDesk, caller: Caller, asked: ScriptRequest) -> ScriptAnswer:
    """Builds and stores it by its content; the same script gives the same database."""
    split = await run_in_threadpool(split_script, asked.ddl)
    async with desk.uploads.taken(caller):
        try:
            database_id = await desk.off_loop(seal_asked, desk.objects, split.script, desk.pool)
        except InvalidInputError as error:
            raise InvalidInputError(error.message, code=CODE) from error
    return ScriptAnswer(database_id=database_id, skipped=split.skipped)
