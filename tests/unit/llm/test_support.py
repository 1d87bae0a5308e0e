"""The test server and the models it plays keep their word, since other tests lean on them."""

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest

from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.contracts.records import Message
from shared.sql.extraction import extract_sql
from shared.sql.prompt import render_messages
from tests.support.faults import Fault, FaultPlan
from tests.support.openai_server import OpenAiServer, recorded_answers, request_hash
from tests.support.writers import asked_level, asked_question, strong_writer, weak_writer
from tests.unit.llm.helpers import StartServer

GOLD = {f"What is {number}?": f"SELECT MAX(a) FROM t WHERE b = {number} ORDER BY c DESC" for number in range(100)}


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "test-model", "messages": [{"role": "user", "content": text}]} | fields


def client_of(server: OpenAiServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0)


def test_the_public_client_understands_it(openai_server: StartServer) -> None:
    server = openai_server(lambda request: [f"answer {n}" for n in range(request["n"])], models=["a", "b"])
    client = client_of(server)
    assert [model.id for model in client.models.list()] == ["a", "b"]
    whole = client.chat.completions.create(model="a", messages=[{"role": "user", "content": "hi"}], n=2)
    assert [choice.message.content for choice in whole.choices] == ["answer 0", "answer 1"]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 4


def test_streaming(openai_server: StartServer) -> None:
    client = client_of(openai_server(lambda _request: "SELECT count(*) FROM singer"))
    events = client.chat.completions.create(
        model="test-model", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text.strip() == "SELECT count(*) FROM singer"


def test_rates_do_not_depend_on_the_order_of_arrival() -> None:
    plan = FaultPlan(rates={Fault.RESET: 0.3, Fault.HTML: 0.3}, seed=3, at_most=2)
    drawn = {key: plan.draw(arrival, str(key), 0) for arrival, key in enumerate(range(500))}
    backwards = {key: plan.draw(arrival, str(key), 0) for arrival, key in enumerate(reversed(range(500)))}
    assert drawn == backwards
    counts = Counter(drawn.values())
    assert 100 < counts[Fault.RESET] < 200
    assert 100 < counts[Fault.HTML] < 200
    assert all(plan.draw(0, str(key), 2) is None for key in range(500))


def test_recorded_answers(tmp_path: Path, openai_server: StartServer) -> None:
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({request_hash(body("a")): ["recorded"]}))
    assert recorded_answers(file)(body("a") | {"x_idempotency_key": "1"}) == ["recorded"]
    assert recorded_answers(file, lambda _request: "else")(body("b")) == "else"
    with pytest.raises(KeyError):
        recorded_answers(file)(body("b"))


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.support.openai_server", "--model", "m1"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with urllib.request.urlopen(f"{address}/models", timeout=10) as response:
            assert json.load(response)["data"][0]["id"] == "m1"
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
def test_the_strong_writer_has_four_parts_at_the_level_asked_for(level: str) -> None:
    prompt = f"Levels are easy, medium and hard.\nExample 1 …\nExample 2 …\nLevel: {level}\nWrite one more."
    assert asked_level(prompt) == level
    first, second = strong_writer(body(prompt, n=2))
    assert strong_writer(body(prompt, n=2)) == [first, second]
    assert first != second
    assert strong_writer(body(prompt, x_idempotency_key="another slot"))[0] != first
    for text in (first, second):
        parts = [text.index(f"{name}:") for name in ("Domain", "Schema", "Question", "Answer")]
        assert parts == sorted(parts)
        assert "CREATE TABLE" in text
        assert "INSERT INTO" in text
        assert (extract_sql(text[parts[3] :]) or "").startswith(("SELECT", "WITH"))


def weak_prompt(question: str) -> list[Message]:
    table = TableCard(
        name="t", ddl="CREATE TABLE t (a INTEGER)", columns=[ColumnCard(name="a", type="INTEGER")], row_count=0
    )
    return render_messages(SchemaCard(database_id="0", tables=[table]), question, evidence="a is a number")


def test_the_weak_writer_is_right_about_as_often_as_told() -> None:
    answer, right, damaged = weak_writer(GOLD, correct=0.6), 0, set[str]()
    for question, gold in GOLD.items():
        request = {"model": "m", "messages": [message.model_dump() for message in weak_prompt(question)], "n": 8}
        assert asked_question(request) == question
        texts = answer(request)
        assert texts == answer(request)
        right += sum(text == gold for text in texts)
        damaged |= {text.replace(question, "") for text in texts if text != gold}
    assert 0.54 < right / 800 < 0.66
    assert any("ASC" in text for text in damaged)
    assert any("MIN(a)" in text for text in damaged)
    assert any("missing_" in text for text in damaged)
    assert any("WHERE (" in text for text in damaged)
    assert any(extract_sql(text) is None for text in damaged)
