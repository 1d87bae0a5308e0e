"""A question becomes SQL: the training's own prompt, the model's samples, a vote by what they return, one repair."""

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
from shared.client.internal import response_timeout, sandbox_service
from shared.contracts.records import Message, PromptStyle
from shared.errors import InvalidInputError, NotFoundError
from shared.http.slots import CALLER_HEADER
from shared.sql.extraction import extract_sql
from shared.sql.parser import parse_sql, write_sql
from shared.sql.prompt import PLAIN_STYLE, render_messages
from shared.storage.keys import is_sha256
from shared.storage.store import ObjectStore


def check_dialect(name: str) -> str:
    """sqlglot's name of it. Raises InvalidInputError naming those that there are."""
    from sqlglot.dialects.dialect import Dialect

    known = sorted(one for one in Dialect.classes if one)
    if name.lower() not in known:
        raise InvalidInputError(f"there is no dialect {name!r}; there are: {', '.join(known)}", code="unknown_dialect")
    return name.lower()


def translate_sql(sql: str, dialect: str) -> tuple[str | None, str | None]:
    """The statement in the dialect, and a warning: what sqlglot cannot read stays untranslated."""
    from sqlglot.errors import SqlglotError

    try:
        written = [write_sql(tree, dialect) for tree in parse_sql(sql)]
    except SqlglotError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return None, f"the SQL cannot be shown in {dialect}: {first}"
    return "; ".join(written), None


OVERHEAD_S = 30.0  # waiting for a slot, fetching the database
STATEMENT_S = 2.0  # what the sandbox allows a statement where the caller names nothing
BUILD_TIMEOUT_S = 30.0
JSON_HEADERS = {"Content-Type": "application/json"}


class SandboxClient:
    """One sandbox service at `url`."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http, self._service = http, sandbox_service(url)

    async def run(
        self, database_id: str, sqls: Sequence[str], deadline_s: float | None, max_rows: int | None, caller: str = ""
    ) -> list[RunResult]:
        """What each SQL did, in their order. Raises RefusedError, UnavailableError."""
        asked = RunRequest(database_id=database_id, sqls=list(sqls), deadline_s=deadline_s, max_rows=max_rows)
        seconds = (deadline_s or STATEMENT_S) * len(sqls) + OVERHEAD_S
        answer = await self._post("/runs", asked.model_dump_json(), seconds, caller)
        return RunResponse.model_validate_json(answer.content).runs

    async def build(self, ddl: str, caller: str = "") -> ScriptResponse:
        """A stored database of this script. Raises RefusedError (code invalid_ddl), UnavailableError."""
        answer = await self._post("/scripts", ScriptRequest(ddl=ddl).model_dump_json(), BUILD_TIMEOUT_S, caller)
        return ScriptResponse.model_validate_json(answer.content)

    async def _post(self, path: str, body: str, seconds: float, caller: str) -> httpx.Response:
        url, headers = self._service.root + path, {**JSON_HEADERS, CALLER_HEADER: caller}
        call = self._http.post(url, content=body, headers=headers, timeout=response_timeout(seconds))
        return await self._service.answered(call)


MAX_LISTED_NAMES = 300
SAMPLING_TEMPERATURE = 1.0  # temperature of several samples where none is given
REPAIR_PROMPT = "This failed: {error}\nAnswer with one corrected SQLite query and nothing else."


@dataclass
class SqlQuestion:
    """One question on its way: what is known of it so far."""

    asked: SqlRequest
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
        """Whether the model was taught to reason before its SQL, which then stands last."""
        return self.style.target == "reasoning_sql"

    @property
    def has_rows(self) -> bool:
        """Whether results can say anything."""
        return any(table.row_count for table in self.card.tables)

    @property
    def vote(self) -> Vote | None:
        """How samples are counted."""
        return None if self.asked.n == 1 else "execution" if self.has_rows else "text"

    @property
    def runs_sql(self) -> bool:
        """Whether the answer needs to know what SQL does."""
        return self.asked.n > 1 or self.asked.repair or self.asked.execute


def select_tables(card: SchemaCard, names: Sequence[str] | None) -> SchemaCard:
    """The card with these tables and views alone, all of them where none is named. Raises InvalidInputError."""
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
    """A schema that does not fit even without example rows; names the tables, so that some can be chosen."""
    count = len(card.relations)
    if count < 2:
        return error
    said = f"the schema's {count} tables are too long for the model ({error.message[:300]}); choose some: `tables`, or"
    return InvalidInputError(f"{said} sense ask --table NAME; it has {listed_names(card)}", code=TOO_LONG)


def listed_names(card: SchemaCard) -> str:
    """The names of tables and views, as many as a person may read."""
    names = [one.name for one in card.relations]
    more = len(names) - MAX_LISTED_NAMES
    return ", ".join(name[:80] for name in names[:MAX_LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")


class SqlAnswerer:
    """Made once a process. Holds no model, no database: it asks the engine and the sandbox."""

    def __init__(self, objects: ObjectStore, engine: ChatEngine, sandbox: SandboxClient) -> None:
        self._objects, self._engine, self._sandbox = objects, engine, sandbox
        self._prompts = TrainedPrompts(objects)

    async def answer(self, asked: SqlRequest, caller: str = "") -> SqlAnswer:
        """`caller` is the key that asks, by its id.

        Raises NotFoundError, InvalidInputError, UnavailableError, or what the sandbox refused.
        """
        began = time.monotonic()
        dialect = await to_thread.run_sync(check_dialect, asked.dialect) if asked.dialect else None
        question = await self._open(asked, caller)
        samples = distinct_statements(await self._write(question), last=question.reasons)
        await self._run(question, [one.sql for one in samples if one.sql])
        best = elect_sample(samples, question.runs, question.vote or "execution")
        sql, repaired = best.sql, None
        if asked.repair and (fault := self._fault(question, best)) is not None:
            sql = await self._repair(question, best, fault)
            repaired = fault if sql != best.sql else None
        view = rank_samples(samples, question.runs)
        shown, warning = await to_thread.run_sync(translate_sql, sql, dialect) if sql and dialect else (None, None)
        question.warnings += [warning] if warning else []
        return SqlAnswer(
            question=asked.question,
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
        """Raises UnavailableError where the store or the engine does not answer."""
        await to_thread.run_sync(self._objects.exists, "readyz")
        await self._engine.models()

    async def _open(self, asked: SqlRequest, caller: str) -> SqlQuestion:
        """The model, the database's card, and how the prompt looks."""
        model = asked.model or await self._default_model()
        database_id, warnings = asked.database_id or "", list[str]()
        if asked.ddl is not None:
            built = await self._sandbox.build(asked.ddl, caller)
            database_id = built.database_id
            warnings += [f"left out of the DDL: {', '.join(built.skipped)}"] if built.skipped else []
        card = select_tables(await to_thread.run_sync(self._card, database_id), asked.tables)
        trained, style = await to_thread.run_sync(self._prompts.of, model)
        rows = asked.rows if asked.rows is not None else trained
        question = SqlQuestion(asked, caller, model, card, rows, style, warnings=warnings)
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
        message = f"there is no database {database_id[:80]!r}; list them with: sense databases"
        raise NotFoundError(message, code="database_not_found")

    async def _write(self, question: SqlQuestion) -> list[str]:
        """The samples' texts; a prompt that is too long is asked again without example rows."""
        asked = question.asked
        heat = asked.temperature if asked.temperature is not None else 0.0 if asked.n == 1 else SAMPLING_TEMPERATURE
        how = SamplingParams(asked.n, heat, asked.seed, asked.max_tokens)
        question.messages = self._prompt(question)
        try:
            return await self._ask(question, question.messages, how)
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
            return await self._ask(question, question.messages, how)
        except InvalidInputError as error:
            if error.code != TOO_LONG:
                raise
            raise too_many_tables_error(question.card, error) from error

    def _prompt(self, question: SqlQuestion) -> list[Message]:
        """Training's own prompt, in the style that the model was taught."""
        asked = question.asked
        return render_messages(
            question.card, asked.question, evidence=asked.evidence, rows=question.rows, style=question.style
        )

    async def _ask(self, question: SqlQuestion, messages: Sequence[Message], how: SamplingParams) -> list[str]:
        written = await self._engine.write(question.model, messages, how)
        question.tokens.append((written.prompt_tokens, written.completion_tokens))
        question.cut_off += written.cut_off
        return written.texts

    async def _run(self, question: SqlQuestion, sqls: Sequence[str]) -> None:
        """What they do, where the answer needs to know."""
        if not question.runs_sql or not sqls:
            return
        asked = question.asked
        limits = (asked.deadline_s, asked.max_rows)
        runs = await self._sandbox.run(question.card.database_id, sqls, *limits, question.caller)
        question.runs |= dict(zip(sqls, runs, strict=True))

    def _fault(self, question: SqlQuestion, best: DistinctSql) -> SqlRepair | None:
        """Why the SQL cannot stay as it is."""
        if best.sql is None:
            return SqlRepair(sql=None, outcome="unextractable", message="the answer holds no SQL statement")
        run = question.runs[best.sql]
        return (
            None if run.outcome in RAN_OUTCOMES else SqlRepair(sql=best.sql, outcome=run.outcome, message=run.message)
        )

    async def _repair(self, question: SqlQuestion, best: DistinctSql, fault: SqlRepair) -> str | None:
        """One greedy try that sees its own error; the first SQL stays where the second is no better."""
        error = f"{fault.outcome}: {fault.message}" if fault.message else fault.outcome
        turns = [
            Message(role="assistant", content=best.answer),
            Message(role="user", content=REPAIR_PROMPT.format(error=error)),
        ]
        try:
            texts = await self._ask(
                question,
                [*question.messages, *turns],
                SamplingParams(1, 0.0, question.asked.seed, question.asked.max_tokens),
            )
        except InvalidInputError as refused:
            question.warnings.append(f"no repair: {refused.message}")
            return best.sql
        sql = extract_sql(texts[0], last=question.reasons)
        if sql is None:
            question.warnings.append("the repair held no SQL statement")
            return best.sql
        if sql not in question.runs:
            await self._run(question, [sql])
        if question.runs[sql].outcome not in RAN_OUTCOMES:
            question.warnings.append(
                f"the repair fails too ({question.runs[sql].outcome}: {question.runs[sql].message}): {sql}"
            )
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
            ExecutionResult.model_validate(run.model_dump(exclude={"fingerprint"})) if question.asked.execute else None
        )
        return {"outcome": run.outcome, "message": run.message, "result": result}
