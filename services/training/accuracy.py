"""Execution accuracy while training runs, the supervisor's side: answers are run in the sandbox, scores come out."""

import threading
import time
from pathlib import Path

import httpx

from services.training.config import TrainConfig
from services.training.scores import ANSWERS, SelectionQuestion, SelectionScore, score_file, write_file
from shared.api.sql import RunRequest, RunResponse, RunResult
from shared.catalog.databases import CardCache
from shared.client.internal import internal_headers, sandbox_service
from shared.contracts.base import RecordSlice
from shared.contracts.records import Example, PromptStyle
from shared.contracts.training import TrainModel
from shared.errors import InvalidInputError, SenseError
from shared.logging import get_logger
from shared.settings import SandboxSettings
from shared.sql.extraction import extract_sql
from shared.sql.prompt import render_messages
from shared.tasks.task import Shard

POLL_S = 0.1
SCORE_TIMEOUT_S = 120.0
RETRY_S = 2.0
REQUEST_TIMEOUT_S = 60.0
QUERY_DEADLINE_S = 2.0
JSON_HEADERS = {"Content-Type": "application/json"}
RAN_OUTCOMES = ("ok", "empty")
log = get_logger()


def selection_questions(
    command: TrainModel, shard: Shard, most: int, rows: int, style: PromptStyle
) -> list[SelectionQuestion]:
    """The first questions that were set aside, asked as the training data's prompts are written.

    Raises `InvalidInputError` where none were.
    """
    assert command.questions is not None
    examples = shard.rows(RecordSlice(stage=command.questions, output="selection", offset=0, limit=most), Example)
    if not examples:
        raise InvalidInputError(
            f"score_steps asks questions of the selection split, and stage {command.questions.stage} set none aside: "
            "train in a pipeline job, whose selection.questions sets them aside, or leave score_steps out"
        )
    catalog = CardCache(shard.objects)
    return [
        SelectionQuestion(
            id=one.example_id,
            database_id=one.database_id,
            gold=one.gold,
            prompt=render_messages(
                catalog.card(one.database_id), one.question, evidence=one.evidence, rows=rows, style=style
            ),
        )
        for one in examples
    ]


class AccuracyScorer:
    """A thread of the supervisor that scores every file of answers once."""

    def __init__(self, config: TrainConfig, questions: list[SelectionQuestion], style: PromptStyle) -> None:
        self.config, self.questions = config, questions
        self.last = style.target == "reasoning_sql"
        self.sandbox = sandbox_service(SandboxSettings().url)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="accuracy", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, in the middle of a score too."""
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(POLL_S):
            for path in (self.config.out_dir / "scores").glob("[0-9]*.answers.json"):
                step = int(path.name.partition(".")[0])
                if not score_file(self.config.out_dir, step).exists():
                    self._tell(step, path)

    def _tell(self, step: int, path: Path) -> None:
        """The score, or an empty file where the sandbox does not answer in time: the training waits for one."""
        ends = time.monotonic() + SCORE_TIMEOUT_S
        while not self._end.is_set():
            try:
                found = self.score(step, ANSWERS.validate_json(path.read_bytes())).model_dump_json()
            except (httpx.HTTPError, SenseError, OSError, ValueError) as error:
                log.warning("accuracy.not_known", step=step, error=str(error) or type(error).__name__)
                if time.monotonic() < ends:
                    self._end.wait(RETRY_S)
                    continue
                found = ""
            write_file(score_file(self.config.out_dir, step), found.encode())
            return

    def score(self, step: int, texts: dict[str, str]) -> SelectionScore:
        """Raises `httpx.HTTPError` where the sandbox does not answer, `SenseError` where it refuses."""
        own = internal_headers()
        with httpx.Client(base_url=self.sandbox.root, headers=own, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
            right = sum(self._right(http, one, texts.get(one.id, "")) for one in self.questions)
        return SelectionScore(step=step, correct=right, questions=len(self.questions))

    def _right(self, http: httpx.Client, question: SelectionQuestion, text: str) -> bool:
        """Equal results, all rows seen; order counts where both statements ask for one."""
        sql = extract_sql(text, last=self.last)
        if sql is None:
            return False
        asked = RunRequest(database_id=question.database_id, sqls=[question.gold, sql], deadline_s=QUERY_DEADLINE_S)
        answer = self.sandbox.good(http.post("/runs", content=asked.model_dump_json(), headers=JSON_HEADERS))
        gold, given = RunResponse.model_validate_json(answer.content).runs
        return same_result(gold, given)


def same_result(gold: RunResult, given: RunResult) -> bool:
    """Whether both ran and gave the same."""
    return (
        gold.outcome in RAN_OUTCOMES
        and given.outcome in RAN_OUTCOMES
        and gold.fingerprint == given.fingerprint is not None
    )
