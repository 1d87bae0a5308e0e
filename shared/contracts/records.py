"""The records that stages leave in the object store, one JSON object a line.

Records carry no job id: the same seed and the same recorded answers must give the same bytes in any job.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["easy", "medium", "hard"]
Split = Literal["train", "selection", "dev", "test", "handwritten"]
AnswerTarget = Literal["sql", "reasoning_sql"]


class Record(BaseModel):
    """A line of a JSONL object; unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptStyle(Record):
    """How every prompt of a job is written, beside its example rows; see `shared.sql.prompt`.

    `comments` shows what the schema says of tables and columns, `foreign_keys` lists the keys once more after the
    tables. `target` is what is asked for: the SQL alone, or short reasoning and then the SQL.
    """

    comments: bool = False
    foreign_keys: bool = False
    target: AnswerTarget = "sql"


def is_empty(value: list[object]) -> bool:
    return not value


class Outcome(StrEnum):
    """What running one SQL did (notes on the sandbox; one enum for the whole product)."""

    OK = "ok"
    EMPTY = "empty"
    SYNTAX_ERROR = "syntax_error"
    UNKNOWN_COLUMN = "unknown_column"
    UNKNOWN_TABLE = "unknown_table"
    AMBIGUOUS_COLUMN = "ambiguous_column"
    TYPE_OR_FUNCTION_ERROR = "type_or_function_error"
    NOT_AUTHORIZED = "not_authorized"
    MULTI_STATEMENT = "multi_statement"
    TIMEOUT = "timeout"
    ROW_LIMIT = "row_limit"
    BYTE_LIMIT = "byte_limit"
    MEMORY_LIMIT = "memory_limit"
    KILLED = "killed"
    DECODE_ERROR = "decode_error"
    UNEXTRACTABLE = "unextractable"
    NOT_RUN = "not_run"


class Verdict(StrEnum):
    """What a candidate is worth against its gold, under a named policy."""

    CORRECT = "correct"
    WRONG = "wrong"
    ERROR = "error"
    TIMEOUT = "timeout"
    GOLD_FAILED = "gold_failed"
    GOLD_TIMEOUT = "gold_timeout"
    BOTH_EMPTY = "both_empty"
    DISPUTED = "disputed"
    UNEXTRACTABLE = "unextractable"


class Dependence(StrEnum):
    """What else than its SQL and its database a verdict depends on."""

    CLOCK = "clock"
    OUR_LIMITS = "our_limits"
    COLLATION = "collation"


class Policy(StrEnum):
    """The rule that compares a candidate's result with the gold's.

    `strict` is ours; `spider` and `bird` agree with the official evaluators, their faults included.
    """

    STRICT = "strict"
    SPIDER = "spider"
    BIRD = "bird"


class Provenance(Record):
    """Who wrote an example, and from what: complete lineage by ids alone."""

    writer: Literal["grammar", "llm", "handwritten", "imported"]
    writer_version: str
    seed: int
    source: str = Field(description="template id, answer key, or file and number")
    model: str | None = None
    prompt_hash: str | None = None
    seed_examples: list[str] = Field(default_factory=list)
    seed_source: str | None = Field(default=None, description="the set that the seeds are from: NAME@VERSION")
    seed_licence: str | None = None


class DatabaseScript(Record):
    """SQL that makes a database: only CREATE TABLE, CREATE INDEX and INSERT are run, by sandbox.build_database."""

    ddl: list[str]
    inserts: list[str]


class WrittenExample(Record):
    """An example as its writer left it: nothing of it has been run yet."""

    domain: str
    split: Split = "train"
    level: Level
    question: str
    evidence: str | None = None
    reasoning: str | None = None
    sql: str
    database: DatabaseScript | None = None
    database_id: str | None = None
    provenance: Provenance
    rows_added: bool = Field(default=False, description="rows of ours stand in its database beside the writer's own")


class Example(Record):
    """Database, question and gold, with where they came from."""

    example_id: str = Field(description="SHA-256 over database id, question, evidence and gold; 16 hex digits")
    database_id: str
    domain: str
    split: Split
    level: Level
    question: str
    evidence: str | None = None
    reasoning: str | None = Field(default=None, description="the writer's way to the gold, where it was asked for")
    gold: str
    provenance: Provenance
    hardness: str | None = Field(default=None, description="the benchmark's own level, finer than `level`")
    index: int | None = Field(default=None, description="the question's number in the dataset it was imported with")
    dataset: str | None = Field(default=None, description="NAME@VERSION where a job read it from a dataset")
    measured: str | None = Field(
        default=None, description="hardness by Spider's rule, whatever level was asked for; or beyond_spider"
    )
    flags: list[str] = Field(default_factory=list, description="what a gate found and did not refuse")


class RejectedExample(Record):
    """An example that did not pass a gate; kept, with its reason."""

    reason: str
    detail: str
    written: WrittenExample
    gate: str = Field(default="", description="parse, build, verify, suite_databases, agreement, judge, or collect")


class Candidate(Record):
    """One answer of a model for one example."""

    example_id: str
    slot: int
    answer: str
    sql: str | None = Field(description="None when nothing could be extracted from the answer")
    model: str
    answer_key: str = Field(description="object key of the recorded answer")
    sample_rows: int = Field(default=3, description="example rows left in the prompt after clipping")


class ResultView(Record):
    """A result cut down for people: the verdict never reads it."""

    outcome: Outcome
    columns: list[str] = Field(default_factory=list)
    rows: list[list[str | int | float | None]] = Field(default_factory=list)
    row_count: int = 0
    truncated: bool = False
    message: str | None = None


class JudgedCandidate(Record):
    """A candidate with its verdict."""

    candidate: Candidate
    verdict: Verdict
    policy: Policy
    outcome: Outcome
    message: str | None = None
    result_hash: str | None = None
    gold_result_hash: str | None = None
    result: ResultView | None = None
    gold_result: ResultView | None = None
    suite_databases: int = Field(default=0, description="test-suite databases on which it was compared too")
    suite_databases_lost: int = Field(default=0, description="those of them on which it gave something else")
    gold: str | None = Field(default=None, description="the SQL it was held against")
    verdicts: dict[Policy, Verdict] = Field(
        default_factory=dict, description="by policy, where several were asked; `verdict` is what they say together"
    )
    program: str | None = Field(default=None, description="hash of what SQLite compiles it into, where asked for")
    depends_on: list[Dependence] = Field(
        default_factory=list,
        exclude_if=is_empty,  # rarely set; records without it keep their bytes
        description="the time, a limit of ours, a collation that SQLite does not have",
    )


class Pair(Record):
    """Prompt, chosen, rejected, and why."""

    example_id: str
    sample_rows: int
    chosen: str
    rejected: str
    chosen_slot: int
    rejected_slot: int
    rejected_verdict: Verdict
    rejected_outcome: Outcome
    rejected_message: str | None = None
    model: str
    policy: str
    chosen_outcome: Outcome = Outcome.OK
    chosen_suite_databases: int = Field(default=0, description="test-suite databases on which the chosen was right too")
    chosen_answer: str | None = Field(default=None, description="object key of the recorded answer; None: the gold")
    rejected_answer: str | None = None
    rejected_shared: int = Field(default=1, description="samples of the question that gave the rejected one's result")
    distance: int = Field(default=0, description="edit distance of the two in tokens")
    gold_chosen: bool = Field(default=False, description="no sample was right: the gold stands in for one")
    judged_by: list[Policy] = Field(default_factory=list, description="policies that all had to agree")
    chosen_reasoning: str = Field(default="", description="what the answer says before its SQL")
    rejected_reasoning: str = ""
    # Of the example, for people who browse pairs; None until pairs are collected.
    database_id: str | None = None
    domain: str | None = None
    level: Level | None = None
    question: str | None = None
    evidence: str | None = None
    gold: str | None = None
    dataset: str | None = None

    def with_example(self, example: Example) -> "Pair":
        names = ("database_id", "domain", "level", "question", "evidence", "gold", "dataset")
        return self.model_copy(update={name: getattr(example, name) for name in names})


class TriedTemperature(Record):
    """A temperature of a sweep: how many of its questions had a right and a wrong answer, and whether it was chosen."""

    temperature: float
    questions: int
    mixed: int
    chosen: bool


class Wish(Record):
    """What a writer is asked for more of: a SQL feature or a level, and its share of the wishes of its kind."""

    kind: Literal["feature", "level"]
    name: str
    weight: float


class RoundScore(Record):
    """A model on the selection split after a round of preference training; one of a choice's lines is `best`.

    `round` is 0 for the SFT model. `kept`: it beat every model before it when its round was over. Without an answer
    (`questions` 0) the round made no model.
    """

    round: int
    arm_id: str
    model: str
    correct: int
    questions: int
    kept: bool = False
    best: bool = False


class SuspectGold(Record):
    """A gold that no sample agrees with while at least half of them agree on one other result: for a human."""

    example_id: str
    samples: int
    agreeing: int
    gold: str | None
    other: str
    gold_result: ResultView | None = None
    other_result: ResultView | None = None
    model: str
    question: str | None = None
    database_id: str | None = None


class ProfileCount(Record):
    """A count of an error profile: `kind` is what `name` is one of (outcome, feature, level, reason, filter)."""

    kind: Literal["outcome", "feature", "level", "reason", "filter"]
    name: str
    verdict: Verdict | None = None
    count: int


class Message(Record):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class SftRecord(Record):
    """TRL's conversational prompt-completion form, with lineage columns that the trainer drops."""

    prompt: list[Message]
    completion: list[Message]
    example_id: str
    database_id: str
    domain: str
    level: Level
    writer: str
    writer_version: str | None = None
    source: str | None = Field(default=None, description="template id, answer key, or file and number")
    source_model: str | None = None
    prompt_hash: str | None = None
    seed: int | None = None
    seed_examples: list[str] = Field(default_factory=list)
    seed_source: str | None = None
    seed_licence: str | None = None
    dataset: str | None = None
    hardness: str | None = None


class DpoRecord(Record):
    """TRL's conversational preference form with explicit prompt, with lineage columns that the trainer drops."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    example_id: str
    database_id: str
    domain: str
    source_model: str
    outcome_rejected: Outcome
    verdict_rejected: Verdict
    outcome_chosen: Outcome = Outcome.OK
    suite_databases_chosen: int = 0
    distance: int = 0
    pair_policy: str = "one_per_question"
    gold_chosen: bool = False
    judged_by: list[Policy] = Field(default_factory=list)
    answer_chosen: str | None = None
    answer_rejected: str | None = None
    dataset: str | None = None
