"""The LLM writer: which calls are made, and what an answer becomes."""

from typing import Any

from services.synthesis.llm_writer import PROMPT_VERSION, make_request, read_answer
from shared.contracts.records import Rejected, Written
from shared.contracts.synthesis import WriteExamples
from shared.llm.messages import ChatAnswer
from tests.support.writers import asked_level
from tests.unit.synthesis.test_parse import PLAIN


def command(**fields: Any) -> WriteExamples:
    base = {"job_id": "j", "stage": "write", "shard": 0, "attempt": 1, "correlation_id": "c", "writer": "llm"}
    more = {"split": "train", "count": 3, "levels": {"easy": 1.0}, "seed": 7, "endpoint": "strong", "model": "m"}
    return WriteExamples.model_validate(base | more | fields)


def answer(text: str) -> ChatAnswer:
    return ChatAnswer(
        texts=[text],
        finish_reasons=["stop"],
        prompt_tokens=1,
        completion_tokens=1,
        key="answers/abc.json",
        cached=False,
        seconds=0.1,
    )


def read(text: str) -> Written | Rejected:
    return read_answer(
        answer(text), level="hard", split="train", seed=7, model="m", seeds=["s1", "s2"], prompt_hash="p"
    )


def test_the_same_command_makes_the_same_calls_in_any_job_and_attempt() -> None:
    first = [make_request(command(), place, "easy") for place in range(3)]
    other = [make_request(command(job_id="k", attempt=2, correlation_id="x"), place, "easy") for place in range(3)]
    assert first == other


def test_every_place_shard_and_seed_is_another_call() -> None:
    variants = [command(), command(shard=1), command(seed=8), command(split="selection")]
    requests = [make_request(variant, place, "easy")[0] for variant in variants for place in range(4)]
    assert len({request.model_dump_json() for request in requests}) == 16


def test_the_prompt_names_the_level_and_shows_two_different_seeds() -> None:
    for place, level in enumerate(("easy", "medium", "hard")):
        request, seeds, prompt_hash = make_request(command(), place, level)  # type: ignore[arg-type]
        text = request.messages[0].content
        assert asked_level(text.split("The levels mean")[0]) == level
        assert len(set(seeds)) == 2
        assert text.count("CREATE TABLE") >= 2 and "{" not in text
        assert len(prompt_hash) == 16
        assert (request.model, request.n, request.max_tokens) == ("m", 1, 1200)


def test_an_answer_becomes_an_example_with_its_lineage() -> None:
    written = read(PLAIN)
    assert isinstance(written, Written)
    assert (written.question, written.sql, written.level) == (
        "Which breads are there?",
        "SELECT name FROM bread",
        "hard",
    )
    assert written.database is not None and written.database_id is None
    provenance = written.provenance
    assert (provenance.writer, provenance.writer_version, provenance.source) == (
        "llm",
        PROMPT_VERSION,
        "answers/abc.json",
    )
    assert (provenance.model, provenance.prompt_hash, provenance.seed_examples) == ("m", "p", ["s1", "s2"])


def test_an_answer_without_an_example_is_kept_with_its_reason() -> None:
    rejected = read("Sorry, no.")
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "unparsable_answer"
    assert "lacks domain" in rejected.detail
    assert rejected.written.provenance.source == "answers/abc.json"
