"""Execution accuracy during training, the supervisor's side: runs answers in the sandbox and writes scores."""

import threading
import time
from pathlib import Path

import httpx

from services.training.config import TrainConfig
from services.training.scores import ANSWERS, SelectionQuestion, SelectionScore, score_file, write_file
from shared.api.sql import RunRequest, RunResponse, RunResult
from shared.catalog.databases import CardCache
from shared.contracts.base import RecordSlice
from shared.contracts.records import Example, PromptStyle
from shared.contracts.training import TrainModel
from shared.errors import InvalidInputError, SenseError
from shared.http.client import internal_headers, sandbox_service
from shared.logging import get_logger
from shared.settings import SandboxSettings
from shared.sql.extraction import extract_sql
from shared.sql.prompt import render_messages
from shared.tasks.task import Shard

POLL_S = 0.1
SCORE_TIMEOUT_S = 120.0  # a sandbox that is down this long costs the score, not the training
RETRY_S = 2.0
REQUEST_TIMEOUT_S = 60.0
QUERY_DEADLINE_S = 2.0
JSON_HEADERS = {"Content-Type": "application/json"}
RAN_OUTCOMES = ("ok", "empty")
log = get_logger()


def selection_questions(
    command: TrainModel, shard: Shard, most: int, rows: int, style: PromptStyle
) -> list[SelectionQuestion]:
    """Returns the first questions of the split, with prompts in the style of the training data.

    Raises `InvalidInputError` if the split is empty.
    """
    assert command.questions is not None
    examples = shard.rows(RecordSlice(stage=command.questions, output="selection", offset=0, limit=most), Example)
    if not examples:
        raise InvalidInputError(
            f"score_steps needs questions of the selection split, and stage {command.questions.stage} set none aside: "
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
    """A thread of the supervisor that scores each file of answers once."""

    def __init__(self, config: TrainConfig, questions: list[SelectionQuestion], style: PromptStyle) -> None:
        self.config, self.questions = config, questions
        self.reasons = style.target == "reasoning_sql"
        self.sandbox = sandbox_service(SandboxSettings().url)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="accuracy", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(POLL_S):
            for path in (self.config.out_dir / "scores").glob("[0-9]*.answers.json"):
                step = int(path.name.partition(".")[0])
                if not score_file(self.config.out_dir, step).exists():
                    self._write_score(step, path)

    def _write_score(self, step: int, path: Path) -> None:
        """Writes the score, or an empty file if the sandbox does not answer in time.

        There is always a file in the end, because the training waits for it.
        """
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
        """Raises `httpx.HTTPError` if the sandbox does not answer, `SenseError` if it refuses."""
        headers, url = internal_headers(), self.sandbox.root
        with httpx.Client(base_url=url, headers=headers, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
            correct = sum(self._is_correct(http, one, texts.get(one.id, "")) for one in self.questions)
        return SelectionScore(step=step, correct=correct, questions=len(self.questions))

    def _is_correct(self, http: httpx.Client, question: SelectionQuestion, text: str) -> bool:
        """Compares complete results; row order counts if both statements have an ORDER BY."""
        sql = extract_sql(text, last=self.reasons)
        if sql is None:
            return False
        body = RunRequest(database_id=question.database_id, sqls=[question.gold, sql], deadline_s=QUERY_DEADLINE_S)
        answer = self.sandbox.good(http.post("/runs", content=body.model_dump_json(), headers=JSON_HEADERS))
        gold, given = RunResponse.model_validate_json(answer.content).runs
        return same_result(gold, given)


def same_result(gold: RunResult, given: RunResult) -> bool:
    return (
        gold.outcome in RAN_OUTCOMES
        and given.outcome in RAN_OUTCOMES
        # no fingerprint: the result was cut, and the rest may differ
        and gold.fingerprint == given.fingerprint is not None
    )
