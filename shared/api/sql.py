"""Objects of `POST /v1/sql`, and of the internal calls by which the serving service runs SQL in the sandbox."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.api.resources import ApiObject, ExecutionResult, UnicodeText

MAX_SAMPLES = 32


class SqlRequest(BaseModel):
    """A question about one database: a stored one by `database_id`, or `ddl` (CREATE TABLE, and INSERT where wanted).

    `model`: a served name; absent, the newest trained model that is served. `n` samples are voted on by what they
    return in the sandbox. `rows`: example rows a table in the prompt; absent, as many as the model was trained with.
    `tables`: only these tables and views stand in the prompt, where a database has more than the model can read.
    `temperature` is 0 for one sample and 1 for several where absent. `deadline_s` and `max_rows` as in `/v1/execute`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: UnicodeText = Field(min_length=1, max_length=20_000)
    database_id: UnicodeText | None = Field(default=None, max_length=200)
    ddl: UnicodeText | None = Field(default=None, min_length=1)
    evidence: UnicodeText | None = Field(
        default=None, max_length=20_000, description="external knowledge, as BIRD gives it"
    )
    model: UnicodeText | None = Field(default=None, min_length=1, max_length=200)
    n: int = Field(default=1, ge=1, le=MAX_SAMPLES, description="samples; the majority by execution is the answer")
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**62)
    max_tokens: int = Field(default=256, ge=1, le=8192)
    rows: int | None = Field(default=None, ge=0, le=5)
    tables: list[UnicodeText] | None = Field(default=None, max_length=2_000, description="names; absent: all of them")
    repair: bool = Field(default=False, description="one more try where the SQL fails, which is shown its own error")
    execute: bool = Field(default=False, description="run the SQL and give its rows as `result`")
    dialect: UnicodeText | None = Field(
        default=None, max_length=40, description="sqlglot's name of a dialect, for display"
    )
    deadline_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_rows: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def check_database(self) -> Self:
        if (self.database_id is None) == (self.ddl is None):
            raise ValueError("name the database by database_id or by ddl, one of them")
        if not self.question.strip():
            raise ValueError("the question is blank")
        return self


class SqlSample(ApiObject):
    """A distinct SQL that the model wrote: how often (`count`), what it did, and how many samples agree with it.

    `sql` is None where the answer holds no statement; `outcome` is None where nothing was run. `answer`: the model's
    own text, of the first sample that gave this SQL.
    """

    sql: str | None
    answer: str
    count: int = 1
    votes: int = 0
    outcome: str | None = None
    message: str | None = None


class SqlRepair(ApiObject):
    """The SQL before its repair, and the error that the model was shown."""

    sql: str | None
    outcome: str
    message: str | None = None


class SqlTokens(ApiObject):
    """Tokens of all calls to the model for this answer."""

    prompt: int = 0
    completion: int = 0


class SqlAnswer(ApiObject):
    """The SQL for a question. `sql` is SQLite; None where no sample held a statement.

    `vote` says how samples were counted: `execution` (equal results), `text` (equal statements: a database without
    rows), None for one sample. `outcome` and `message` are those of `sql`, where it was run (n above 1, repair,
    execute). `display_sql` is `sql` in `dialect`, for people: it was not run. `rows` is what the prompt showed.
    """

    object: Literal["sql"] = "sql"
    question: str
    model: str
    database_id: str
    sql: str | None
    outcome: str | None = None
    message: str | None = None
    result: ExecutionResult | None = None
    vote: Literal["execution", "text"] | None = None
    samples: list[SqlSample] = Field(default_factory=list)
    repaired: SqlRepair | None = None
    dialect: str | None = None
    display_sql: str | None = None
    rows: int = 0
    tokens: SqlTokens = SqlTokens()
    elapsed_ms: float = 0.0
    warnings: list[str] = Field(default_factory=list)


class RunRequest(BaseModel):
    """Several SQL for one stored database; equal ones run once. Budgets are each statement's, as in `/v1/execute`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_id: UnicodeText = Field(max_length=200)
    sqls: list[UnicodeText] = Field(min_length=1, max_length=64)
    deadline_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_rows: int | None = Field(default=None, ge=0)


class RunResult(ExecutionResult):
    """One of them; equal fingerprints are equal results, None where not all rows were seen."""

    fingerprint: str | None = None


class RunResponse(ApiObject):
    """In the order of the request."""

    runs: list[RunResult]


class ScriptRequest(BaseModel):
    """SQL that makes a database: CREATE TABLE, CREATE INDEX, INSERT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ddl: UnicodeText = Field(min_length=1)


class ScriptResponse(ApiObject):
    """The stored database, and the beginnings of statements that were left out."""

    database_id: str
    skipped: list[str] = Field(default_factory=list)
