"""A question becomes SQL: the training's own prompt, the model's samples, a vote by what they return, one repair."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from anyio import to_thread

from services.serving.asking.choice import TrainedPrompts, choose_model
from services.serving.asking.dialects import check_dialect, display
from services.serving.asking.engine import TOO_LONG, ChatEngine, Sampling
from services.serving.asking.sandbox import Sandbox
from services.serving.asking.vote import RAN, Sample, Vote, as_view, distinct, elect
from shared.catalog.databases import CardCache, SchemaCard
from shared.client.models import Executed
from shared.client.sandbox_models import Run
from shared.client.sql_models import SqlAnswer, SqlRepair, SqlRequest, SqlTokens
from shared.contracts.records import Message, PromptStyle
from shared.errors import InvalidInputError, NotFoundError
from shared.sql.extraction import extract_sql
from shared.sql.prompt import PLAIN_STYLE, render_messages
from shared.storage.keys import is_sha256
from shared.storage.store import ObjectStore

SHOWN_NAMES = 300
SAMPLED_AT = 1.0  # temperature of several samples where none is given
REPAIR = "This failed: {error}\nAnswer with one corrected SQLite query and nothing else."


@dataclass
class Case:
    """One question on its way: what is known of it so far."""

    asked: SqlRequest
    caller: str
    model: str
    card: SchemaCard
    rows: int
    style: PromptStyle = PLAIN_STYLE
    messages: list[Message] = field(default_factory=list)
    tokens: list[tuple[int, int]] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
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


def chosen_tables(card: SchemaCard, names: Sequence[str] | None) -> SchemaCard:
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


def too_many_tables(card: SchemaCard, error: InvalidInputError) -> InvalidInputError:
    """A schema that does not fit even without example rows; names the tables, so that some can be chosen."""
    count = len(card.relations)
    if count < 2:
        return error
    said = f"the schema's {count} tables are too long for the model ({error.message[:300]}); choose some: `tables`, or"
    return InvalidInputError(f"{said} sense ask --table NAME; it has {listed_names(card)}", code=TOO_LONG)


def listed_names(card: SchemaCard) -> str:
    """The names of tables and views, as many as a person may read."""
    names = [one.name for one in card.relations]
    more = len(names) - SHOWN_NAMES
    return ", ".join(name[:80] for name in names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


class Asker:
    """Made once a process. Holds no model, no database: it asks the engine and the sandbox."""

    def __init__(self, objects: ObjectStore, engine: ChatEngine, sandbox: Sandbox) -> None:
        self._objects, self._engine, self._sandbox = objects, engine, sandbox
        self._prompts = TrainedPrompts(objects)

    async def answer(self, asked: SqlRequest, caller: str = "") -> SqlAnswer:
        """`caller` is the key that asks, by its id.

        Raises NotFoundError, InvalidInputError, UnavailableError, or what the sandbox refused.
        """
        began = time.monotonic()
        dialect = await to_thread.run_sync(check_dialect, asked.dialect) if asked.dialect else None
        case = await self._open(asked, caller)
        samples = distinct(await self._write(case), last=case.reasons)
        await self._run(case, [one.sql for one in samples if one.sql])
        best = elect(samples, case.runs, case.vote or "execution")
        sql, repaired = best.sql, None
        if asked.repair and (fault := self._fault(case, best)) is not None:
            sql = await self._repair(case, best, fault)
            repaired = fault if sql != best.sql else None
        view = as_view(samples, case.runs)
        shown, warning = await to_thread.run_sync(display, sql, dialect) if sql and dialect else (None, None)
        case.warnings += [warning] if warning else []
        return SqlAnswer(
            question=asked.question,
            model=case.model,
            database_id=case.card.database_id,
            sql=sql,
            vote=case.vote,
            samples=view,
            repaired=repaired,
            dialect=dialect,
            display_sql=shown,
            rows=case.rows,
            tokens=SqlTokens(prompt=sum(p for p, _ in case.tokens), completion=sum(c for _, c in case.tokens)),
            elapsed_ms=round((time.monotonic() - began) * 1000, 1),
            warnings=case.warnings,
            **self._outcome(case, sql),
        )

    async def probe(self) -> None:
        """Raises UnavailableError where the store or the engine does not answer."""
        await to_thread.run_sync(self._objects.exists, "readyz")
        await self._engine.models()

    async def _open(self, asked: SqlRequest, caller: str) -> Case:
        """The model, the database's card, and how the prompt looks."""
        model = asked.model or await self._default_model()
        database_id, warnings = asked.database_id or "", list[str]()
        if asked.ddl is not None:
            built = await self._sandbox.build(asked.ddl, caller)
            database_id = built.database_id
            warnings += [f"left out of the DDL: {', '.join(built.skipped)}"] if built.skipped else []
        card = chosen_tables(await to_thread.run_sync(self._card, database_id), asked.tables)
        trained, style = await to_thread.run_sync(self._prompts.of, model)
        rows = asked.rows if asked.rows is not None else trained
        case = Case(asked, caller, model, card, rows, style, warnings=warnings)
        if case.vote == "text":
            case.warnings.append("the database has no rows, so that samples are counted by their text, not by results")
        return case

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

    async def _write(self, case: Case) -> list[str]:
        """The samples' texts; a prompt that is too long is asked again without example rows."""
        asked = case.asked
        heat = asked.temperature if asked.temperature is not None else 0.0 if asked.n == 1 else SAMPLED_AT
        how = Sampling(asked.n, heat, asked.seed, asked.max_tokens)
        case.messages = self._prompt(case)
        try:
            return await self._ask(case, case.messages, how)
        except InvalidInputError as error:
            if error.code != TOO_LONG:
                raise
            if not case.rows:
                raise too_many_tables(case.card, error) from error
        case.warnings.append(
            f"the prompt with {case.rows} example rows a table is too long for the model; none is shown"
        )
        case.rows = 0
        case.messages = self._prompt(case)
        try:
            return await self._ask(case, case.messages, how)
        except InvalidInputError as error:
            if error.code != TOO_LONG:
                raise
            raise too_many_tables(case.card, error) from error

    def _prompt(self, case: Case) -> list[Message]:
        """Training's own prompt, in the style that the model was taught."""
        asked = case.asked
        return render_messages(case.card, asked.question, evidence=asked.evidence, rows=case.rows, style=case.style)

    async def _ask(self, case: Case, messages: Sequence[Message], how: Sampling) -> list[str]:
        written = await self._engine.write(case.model, messages, how)
        case.tokens.append((written.prompt_tokens, written.completion_tokens))
        case.cut_off += written.cut_off
        return written.texts

    async def _run(self, case: Case, sqls: Sequence[str]) -> None:
        """What they do, where the answer needs to know."""
        if not case.runs_sql or not sqls:
            return
        asked = case.asked
        limits = (asked.deadline_s, asked.max_rows)
        runs = await self._sandbox.run(case.card.database_id, sqls, *limits, case.caller)
        case.runs |= dict(zip(sqls, runs, strict=True))

    def _fault(self, case: Case, best: Sample) -> SqlRepair | None:
        """Why the SQL cannot stay as it is."""
        if best.sql is None:
            return SqlRepair(sql=None, outcome="unextractable", message="the answer holds no SQL statement")
        run = case.runs[best.sql]
        return None if run.outcome in RAN else SqlRepair(sql=best.sql, outcome=run.outcome, message=run.message)

    async def _repair(self, case: Case, best: Sample, fault: SqlRepair) -> str | None:
        """One greedy try that sees its own error; the first SQL stays where the second is no better."""
        error = f"{fault.outcome}: {fault.message}" if fault.message else fault.outcome
        turns = [
            Message(role="assistant", content=best.answer),
            Message(role="user", content=REPAIR.format(error=error)),
        ]
        try:
            texts = await self._ask(
                case, [*case.messages, *turns], Sampling(1, 0.0, case.asked.seed, case.asked.max_tokens)
            )
        except InvalidInputError as refused:
            case.warnings.append(f"no repair: {refused.message}")
            return best.sql
        sql = extract_sql(texts[0], last=case.reasons)
        if sql is None:
            case.warnings.append("the repair held no SQL statement")
            return best.sql
        if sql not in case.runs:
            await self._run(case, [sql])
        if case.runs[sql].outcome not in RAN:
            case.warnings.append(f"the repair fails too ({case.runs[sql].outcome}: {case.runs[sql].message}): {sql}")
            return best.sql or sql
        return sql

    def _outcome(self, case: Case, sql: str | None) -> dict[str, Any]:
        if sql is None:
            why = f"; {case.cut_off} answers ended at max_tokens: raise it" if case.cut_off else ""
            return {"outcome": "unextractable", "message": f"the model wrote no SQL statement{why}"}
        run = case.runs.get(sql)
        if run is None:
            return {}
        result = Executed.model_validate(run.model_dump(exclude={"fingerprint"})) if case.asked.execute else None
        return {"outcome": run.outcome, "message": run.message, "result": result}
