"""The tasks of the evaluation service: answer test questions with a served model, and score judged answers."""

import json
from typing import Any

from services.evaluation.reports.build import build_report, per_question
from services.evaluation.reports.html import render_html
from services.evaluation.reports.text import render_markdown, render_terminal
from services.evaluation.scoring.gather import Gatherer
from services.evaluation.scoring.promotion import choose_model
from shared.catalog.databases import CardCache
from shared.contracts.base import TaskContract
from shared.contracts.evaluation import (
    ANSWER_QUESTIONS,
    CHOOSE_MODEL,
    SCORE,
    AnsweredCounts,
    AnswerQuestions,
    Score,
    ScoredCounts,
)
from shared.contracts.records import Example
from shared.llm.endpoints import load_profile
from shared.models.manifest import chosen_model
from shared.sampling import SamplingParams, Shot, candidate_outputs, draw_candidates, stage_budget
from shared.storage.keys import report_key
from shared.tasks.task import Shard, TaskResult, Work


def pick_shots(command: AnswerQuestions, shard: Shard) -> list[Shot]:
    """The first training examples of different databases: the same for every question, never a test example."""
    if command.shots_from is None or command.shots == 0:
        return []
    catalog = CardCache(shard.objects)
    shots: dict[str, Shot] = {}
    for example in shard.stage_records(command.shots_from, "examples", Example):
        if len(shots) == command.shots:
            break
        shots.setdefault(example.database_id, (catalog.card(example.database_id), example.question, example.gold))
    return list(shots.values())


def answer_questions(command: AnswerQuestions, shard: Shard) -> TaskResult:
    """Greedy at temperature 0, else several samples for each question."""
    examples = shard.rows(command.examples, Example)
    asking = SamplingParams(
        model=chosen_model(shard, command.model_from, command.model),
        samples=command.samples,
        temperature=command.temperature,
        top_p=command.top_p,
        max_tokens=command.max_tokens,
        seed=command.seed,
        sample_rows=command.sample_rows,
        style=command.style,
        shots=pick_shots(command, shard),
    )
    budget = stage_budget(shard, command.endpoint, command.budget_usd, command.budget_tokens)
    candidates, tokens, endings = draw_candidates(shard, load_profile(command.endpoint), examples, asking, budget)
    counts = AnsweredCounts(
        questions=len(examples),
        answers=len(candidates),
        unextractable=sum(candidate.sql is None for candidate in candidates),
        **tokens.counts(),
        **endings,
    )
    return TaskResult(counts, candidate_outputs(shard, examples, candidates))


def score(command: Score, shard: Shard) -> TaskResult:
    """Writes the report in four formats, and the questions beside it."""
    given = Gatherer(command, shard).gather()
    report = build_report(given)
    questions = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in per_question(given))
    forms = {
        "report": ("json", report.model_dump_json()),
        "markdown": ("md", render_markdown(report)),
        "html": ("html", render_html(report)),
        "terminal": ("txt", render_terminal(report)),
        "questions": ("questions.jsonl", questions),
    }
    outputs = {
        name: shard.objects.put(report_key(command.job_id, command.stage, suffix), text.encode())
        for name, (suffix, text) in forms.items()
    }
    # Selection questions choose among models and are no test.
    tested = sum(example.split != "selection" for example in given.examples.values())
    tested += sum(len(one.examples) for one in given.benchmarks)
    arms = {one.arm.id for one in (*given.arms, *(arm for part in given.benchmarks for arm in part.arms))}
    return TaskResult(ScoredCounts(questions=tested, arms=len(arms)), outputs)


TASKS: dict[TaskContract, Work[Any]] = {ANSWER_QUESTIONS: answer_questions, CHOOSE_MODEL: choose_model, SCORE: score}
