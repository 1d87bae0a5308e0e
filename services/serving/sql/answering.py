"""Turns a question into SQL: the prompt of training, the model's samples, a vote by their results, one repair."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import httpx
from anyio import to_thread

from services.serving.sql.models import TOO_LONG, ChatEngine, SamplingParams, TrainedPrompts, choose_model
from services.serving.sql.voting import RAN_OUTCOMES, DistinctSql, Vote, distinct_statements, elect_sample, rank_samples
from shared.api.resources import ExecutionResult
from shared.api.sql import (
    RunRequest,
    RunResponse,
    RunResult,
    ScriptRequest,
    ScriptResponse,
    SqlAnswer,
    SqlRepair,
    SqlRequest,
    SqlTokens,
)
from shared.catalog.databases import CardCache, SchemaCard
from shared.contracts.records import Message, PromptStyle
from shared.errors import InvalidInputError, NotFoundError
from shared.http.client import response_timeout, sandbox_service
from shared.http.slots import CALLER_HEADER
from shared.sql.extraction import extract_sql
from shared.sql.parser import parse_sql, write_sql
from shared.sql.prompt import PLAIN_STYLE, render_messages
from shared.storage.keys import is_sha256
from shared.storage.store import ObjectStore

MAX_LISTED_NAMES = 300
SAMPLING_TEMPERATURE = 1.0  # of several samples, if the request names none
REPAIR_PROMPT = "This failed: {error}\nAnswer with one corrected SQLite query and nothing else."
OVERHEAD_S = 30.0  # waiting for a slot, fetching the database
STATEMENT_S = 2.0  # the sandbox's own deadline of a statement, if the request names none
BUILD_TIMEOUT_S = 30.0
JSON_HEADERS = {"Content-Type": "application/json"}


@dataclass
class SqlQuestion:
    """The state of one question while it is answered."""

    request: SqlRequest
    caller: str
    model: str
    card: SchemaCard
    rows: int
    style: PromptStyle = PLAIN_STYLE
    messages: list[Message] = field(default_factory=list)
    tokens: list[tuple[int, int]] = field(default_factory=list)
    runs: dict[str, RunResult] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    cut_off: int = 0

    @property
    def reasons(self) -> bool:
        """Whether the model reasons first, so that its SQL stands last in the answer."""
        return self.style.target == "reasoning_sql"

    @property
    def has_rows(self) -> bool:
        """False if every table is empty: all results are then empty, too, and say nothing about the SQL."""
        return any(table.row_count for table in self.card.tables)

    @property
    def vote(self) -> Vote | None:
        return None if self.request.n == 1 else "execution" if self.has_rows else "text"

    @property
    def runs_sql(self) -> bool:
        return self.request.n > 1 or self.request.repair or self.request.execute


class SqlAnswerer:
    """One per process. It holds no model and no database: it calls the engine and the sandbox."""

    def __init__(self, objects: ObjectStore, engine: ChatEngine, sandbox: "SandboxClient") -> None:
        self._objects, self._engine, self._sandbox = objects, engine, sandbox
        self._prompts = TrainedPrompts(objects)

    async def answer(self, request: SqlRequest, caller: str = "") -> SqlAnswer:
        """`caller` is the id of the API key.

        Raises NotFoundError, InvalidInputError, UnavailableError, or the refusal of the sandbox.
        """
        began = time.monotonic()
        dialect = await to_thread.run_sync(check_dialect, request.dialect) if request.dialect else None
        question = await self._open(request, caller)
        samples = distinct_statements(await self._write(question), last=question.reasons)
        await self._run(question, [one.sql for one in samples if one.sql])
        best = elect_sample(samples, question.runs, question.vote or "execution")
        sql, repaired = best.sql, None
        if request.repair and (fault := self._fault(question, best)) is not None:
            sql = await self._repair(question, best, fault)
            repaired = fault if sql != best.sql else None
        view = rank_samples(samples, question.runs)
        # sqlglot's work takes processor time: off the event loop
        shown, warning = await to_thread.run_sync(translate_sql, sql, dialect) if sql and dialect else (None, None)
        question.warnings += [warning] if warning else []
        return SqlAnswer(
            question=request.question,
            model=question.model,
            database_id=question.card.database_id,
            sql=sql,
            vote=question.vote,
            samples=view,
            repaired=repaired,
            dialect=dialect,
            display_sql=shown,
            rows=question.rows,
            tokens=SqlTokens(prompt=sum(p for p, _ in question.tokens), completion=sum(c for _, c in question.tokens)),
            elapsed_ms=round((time.monotonic() - began) * 1000, 1),
            warnings=question.warnings,
            **self._outcome(question, sql),
        )

    async def probe(self) -> None:
        """Raises UnavailableError if the store or the engine does not answer."""
        await to_thread.run_sync(self._objects.exists, "readyz")
        await self._engine.models()

    async def _open(self, request: SqlRequest, caller: str) -> SqlQuestion:
        model = request.model or await self._default_model()
        database_id, warnings = request.database_id or "", list[str]()
        if request.ddl is not None:
            built = await self._sandbox.build(request.ddl, caller)
            database_id = built.database_id
            warnings += [f"left out of the DDL: {', '.join(built.skipped)}"] if built.skipped else []
        card = select_tables(await to_thread.run_sync(self._card, database_id), request.tables)
        trained, style = await to_thread.run_sync(self._prompts.of, model)
        rows = request.rows if request.rows is not None else trained
        question = SqlQuestion(request, caller, model, card, rows, style, warnings=warnings)
        if question.vote == "text":
            question.warnings.append(
                "the database has no rows, so that samples are counted by their text, not by results"
            )
        return question

    async def _default_model(self) -> str:
        served = await self._engine.models()
        return await to_thread.run_sync(choose_model, served, self._objects)

    def _card(self, database_id: str) -> SchemaCard:
        try:
            if is_sha256(database_id):
                return CardCache(self._objects).card(database_id)
        except NotFoundError:
            pass
        # malformed and unknown ids get the same answer
        message = f"there is no database {database_id[:80]!r}; list them with: sense databases"
        raise NotFoundError(message, code="database_not_found")

    async def _write(self, question: SqlQuestion) -> list[str]:
        """The texts of the samples. If the prompt is too long, tries again without sample rows."""
        request = question.request
        # a single answer is greedy; several samples have to differ to be worth a vote
        default = 0.0 if request.n == 1 else SAMPLING_TEMPERATURE
        temperature = default if request.temperature is None else request.temperature
        params = SamplingParams(request.n, temperature, request.seed, request.max_tokens)
        question.messages = self._prompt(question)
        try:
            return await self._ask(question, question.messages, params)
        except InvalidInputError as error:
            if error.code != TOO_LONG:
                raise
            if not question.rows:
                raise too_many_tables_error(question.card, error) from error
        question.warnings.append(
            f"the prompt with {question.rows} example rows a table is too long for the model; none is shown"
        )
        question.rows = 0
        question.messages = self._prompt(question)
        try:
            return await self._ask(question, question.messages, params)
        except InvalidInputError as error:
            if error.code != TOO_LONG:
                raise
            raise too_many_tables_error(question.card, error) from error

    def _prompt(self, question: SqlQuestion) -> list[Message]:
        request = question.request
        return render_messages(
            question.card, request.question, evidence=request.evidence, rows=question.rows, style=question.style
        )

    async def _ask(self, question: SqlQuestion, messages: Sequence[Message], params: SamplingParams) -> list[str]:
        written = await self._engine.write(question.model, messages, params)
        question.tokens.append((written.prompt_tokens, written.completion_tokens))
        question.cut_off += written.cut_off
        return written.texts

    async def _run(self, question: SqlQuestion, sqls: Sequence[str]) -> None:
        """Runs the statements if the answer depends on what they do."""
        if not question.runs_sql or not sqls:
            return
        request = question.request
        limits = (request.deadline_s, request.max_rows)
        runs = await self._sandbox.run(question.card.database_id, sqls, *limits, question.caller)
        question.runs |= dict(zip(sqls, runs, strict=True))

    def _fault(self, question: SqlQuestion, best: DistinctSql) -> SqlRepair | None:
        """Why the SQL needs a repair, or None."""
        if best.sql is None:
            return SqlRepair(sql=None, outcome="unextractable", message="the answer holds no SQL statement")
        run = question.runs[best.sql]
        return (
            None if run.outcome in RAN_OUTCOMES else SqlRepair(sql=best.sql, outcome=run.outcome, message=run.message)
        )

    async def _repair(self, question: SqlQuestion, best: DistinctSql, fault: SqlRepair) -> str | None:
        """Tries once more, greedily, with the error in the prompt. The first SQL stays if the second one fails too."""
        error = f"{fault.outcome}: {fault.message}" if fault.message else fault.outcome
        turns = [
            Message(role="assistant", content=best.answer),
            Message(role="user", content=REPAIR_PROMPT.format(error=error)),
        ]
        try:
            texts = await self._ask(
                question,
                [*question.messages, *turns],
                SamplingParams(1, 0.0, question.request.seed, question.request.max_tokens),
            )
        except InvalidInputError as refused:
            question.warnings.append(f"no repair: {refused.message}")
            return best.sql
        sql = extract_sql(texts[0], last=question.reasons)
        if sql is None:
            question.warnings.append("the repair held no SQL statement")
            return best.sql
        # the repair may repeat a sample that has already run
        if sql not in question.runs:
            await self._run(question, [sql])
        if question.runs[sql].outcome not in RAN_OUTCOMES:
            question.warnings.append(
                f"the repair fails too ({question.runs[sql].outcome}: {question.runs[sql].message}): {sql}"
            )
            # SQL that fails tells the caller more than none
            return best.sql or sql
        return sql

    def _outcome(self, question: SqlQuestion, sql: str | None) -> dict[str, Any]:
        if sql is None:
            why = f"; {question.cut_off} answers ended at max_tokens: raise it" if question.cut_off else ""
            return {"outcome": "unextractable", "message": f"the model wrote no SQL statement{why}"}
        run = question.runs.get(sql)
        if run is None:
            return {}
        result = (
            ExecutionResult.model_validate(run.model_dump(exclude={"fingerprint"}))
            if question.request.execute
            else None
        )
        return {"outcome": run.outcome, "message": run.message, "result": result}


def select_tables(card: SchemaCard, names: Sequence[str] | None) -> SchemaCard:
    """The card with only these tables and views, or all if `names` is empty. Raises InvalidInputError."""
    if not names:
        return card
    known = {one.name.casefold(): one.name for one in card.relations}
    for name in names:
        if name.casefold() not in known:
            near = get_close_matches(name.casefold(), known, 1)
            hint = f"did you mean {known[near[0]]!r}?" if near else f"it has {listed_names(card)}"
            raise InvalidInputError(f"the database has no table or view {name[:80]!r}; {hint}", code="unknown_table")
    wanted = {name.casefold() for name in names}
    tables = [one for one in card.tables if one.name.casefold() in wanted]
    return card.model_copy(
        update={"tables": tables, "views": [one for one in card.views if one.name.casefold() in wanted]}
    )


def too_many_tables_error(card: SchemaCard, error: InvalidInputError) -> InvalidInputError:
    count = len(card.relations)
    if count < 2:
        return error
    why = f"the schema's {count} tables are too long for the model ({error.message[:300]}); choose some: `tables`, or"
    return InvalidInputError(f"{why} sense ask --table NAME; it has {listed_names(card)}", code=TOO_LONG)


def listed_names(card: SchemaCard) -> str:
    names = [one.name for one in card.relations]
    more = len(names) - MAX_LISTED_NAMES
    return ", ".join(name[:80] for name in names[:MAX_LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")


def check_dialect(name: str) -> str:
    """sqlglot's name of the dialect. Raises InvalidInputError with the known names."""
    from sqlglot.dialects.dialect import Dialect

    known = sorted(one for one in Dialect.classes if one)
    if name.lower() not in known:
        raise InvalidInputError(f"there is no dialect {name!r}; there are: {', '.join(known)}", code="unknown_dialect")
    return name.lower()


def translate_sql(sql: str, dialect: str) -> tuple[str | None, str | None]:
    """The statement in the dialect for people to read, or None and a warning if sqlglot cannot parse it.

    The translation is never run or trained on.
    """
    from sqlglot.errors import SqlglotError

    try:
        written = [write_sql(tree, dialect) for tree in parse_sql(sql)]
    except SqlglotError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return None, f"the SQL cannot be shown in {dialect}: {first}"
    return "; ".join(written), None


class SandboxClient:
    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http, self._service = http, sandbox_service(url)

    async def run(
        self, database_id: str, sqls: Sequence[str], deadline_s: float | None, max_rows: int | None, caller: str = ""
    ) -> list[RunResult]:
        """What each statement did, in order. Raises RefusedError, UnavailableError."""
        request = RunRequest(database_id=database_id, sqls=list(sqls), deadline_s=deadline_s, max_rows=max_rows)
        # the statements of one request run one after the other
        seconds = (deadline_s or STATEMENT_S) * len(sqls) + OVERHEAD_S
        answer = await self._post("/runs", request.model_dump_json(), seconds, caller)
        return RunResponse.model_validate_json(answer.content).runs

    async def build(self, ddl: str, caller: str = "") -> ScriptResponse:
        answer = await self._post("/scripts", ScriptRequest(ddl=ddl).model_dump_json(), BUILD_TIMEOUT_S, caller)
        return ScriptResponse.model_validate_json(answer.content)

    async def _post(self, path: str, body: str, seconds: float, caller: str) -> httpx.Response:
        url, headers = self._service.root + path, {**JSON_HEADERS, CALLER_HEADER: caller}
        call = self._http.post(url, content=body, headers=headers, timeout=response_timeout(seconds))
        return await self._service.answered(call)
