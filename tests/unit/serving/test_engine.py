"""The engine as its users meet it: a process of its own, asked over HTTP with the openai client."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from shared.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tests.unit.serving.engine_process import EngineProcess, gone
from tests.unit.serving.tiny import save_model

SCHEMA = "CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT, year INTEGER, singer_id INTEGER);\n"
QUESTIONS = [f"{SCHEMA}Question: songs after {year}?" for year in range(1990, 2006)]


def test_models_are_listed_and_answer(served):
    assert served.engine.models() == ["base", "tuned"]
    assert {model.id for model in served.openai.models.list()} == {"base", "tuned"}
    answer = served.openai.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "Hi"}], max_tokens=5, temperature=0
    )
    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5
    assert served.health()["weights_in_memory"] is True


def test_base_and_adapter_answer_differently_under_their_own_names(served):
    assert served.ask("base", "Hi") != served.ask("tuned", "Hi")
    with ThreadPoolExecutor(8) as pool:
        mixed = list(pool.map(lambda i: served.ask(["base", "tuned"][i % 2], "Hi"), range(8)))
    assert mixed == [served.ask("base", "Hi"), served.ask("tuned", "Hi")] * 4


def test_samples_are_distinct_and_the_same_seed_gives_them_again(served):
    def sample(seed):
        answer = served.openai.chat.completions.create(
            model="base", messages=[{"role": "user", "content": "Hi"}], n=4, max_tokens=12, temperature=1, seed=seed
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.message.content for choice in answer.choices]

    first = sample(11)
    assert len(set(first)) == 4
    with ThreadPoolExecutor(3) as pool:
        again, other, *_ = pool.map(sample, [11, 12, 13])
    assert again == first
    assert other != first


def test_sixteen_at_once_get_what_each_gets_alone(served):
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda question: served.ask("base", question), QUESTIONS))
    assert together == [served.ask("base", question) for question in QUESTIONS]
    assert len(set(together)) > 4


def test_prefix_sharing_changes_no_answer(served, tiny_llama, tmp_path):
    plain = EngineProcess(tmp_path, dtype="float32", share_prefixes="false")
    try:
        plain.engine.load("base", str(tiny_llama))
        expected = [plain.ask("base", question) for question in QUESTIONS[:6]]
    finally:
        plain.stop()
    assert [served.ask("base", question) for question in QUESTIONS[:6]] == expected


def test_a_budget_of_tokens_delays_and_changes_no_answer(served, tiny_llama, tmp_path):
    narrow = EngineProcess(tmp_path, dtype="float32", tokens="1024")
    try:
        narrow.engine.load("base", str(tiny_llama))
        with ThreadPoolExecutor(16) as pool:  # three of them fit beside one another
            together = list(pool.map(lambda one: narrow.ask("base", one, max_tokens=150), QUESTIONS))
        alone = narrow.openai.chat.completions.create(
            model="base", messages=[{"role": "user", "content": "Hi"}], n=8, max_tokens=200, temperature=1, seed=1
        )
    finally:
        narrow.stop()
    assert together == [served.ask("base", one, max_tokens=150) for one in QUESTIONS]
    assert len(alone.choices) == 8  # more than fits, by itself


def test_a_stream_adds_up_to_the_answer(served):
    chunks = list(
        served.openai.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": QUESTIONS[0]}],
            max_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == served.ask("base", QUESTIONS[0])
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 12


def test_stop_strings_end_the_answer_before_them(served):
    whole = served.ask("base", "Hi")
    stop = whole[3:5]
    assert served.ask("base", "Hi", stop=[stop]) == whole[: whole.index(stop)]


def test_an_unknown_model_is_answered_with_the_served_names(served):
    with pytest.raises(openai.NotFoundError, match="base, tuned"):
        served.ask("other", "Hi")
    with pytest.raises(NotFoundError):
        served.engine.unload("other")


@pytest.mark.parametrize(
    "fault",
    [{"temperature": 3}, {"n": 0}, {"n": 17}, {"max_tokens": 0}, {"extra_body": {"top_k": 5}}, {"presence_penalty": 1}],
)
def test_fields_that_cannot_be_used_are_named(served, fault):
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as caught:
        served.ask("base", "Hi", **fault)
    assert caught.value.body["type"] == "invalid_request_error"
    assert ({"extra_body": "top_k"}.get(next(iter(fault))) or next(iter(fault))) in caught.value.body["message"]


def test_a_prompt_beyond_the_context_is_refused_with_both_lengths(served):
    with pytest.raises(openai.BadRequestError, match="takes 1024") as caught:
        served.ask("base", "x" * 2000)
    assert caught.value.body["code"] == "context_length_exceeded"


def test_names_are_immutable(served, tiny_llama, tiny_adapter, tmp_path):
    served.engine.load("base", str(tiny_llama))
    with pytest.raises(ConflictError, match="immutable"):
        served.engine.load("base", str(tiny_llama), str(tiny_adapter))
    with pytest.raises(NotFoundError, match="does not exist"):
        served.engine.load("new", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInputError, match=r"adapter_config\.json"):
        served.engine.load("new", str(tiny_llama), str(tiny_llama))
    assert httpx.post(f"{served.url}/admin/models", json={"name": 3}).status_code == 422


def test_a_name_that_was_removed_is_served_no_more(served, tmp_path):
    served.engine.load("passing", str(save_model(tmp_path / "m", seed=9)))
    assert served.ask("passing", "Hi") != served.ask("base", "Hi")
    served.engine.unload("passing")
    with pytest.raises(openai.NotFoundError):
        served.ask("passing", "Hi")
    assert served.engine.models() == ["base", "tuned"]


def test_a_model_that_cannot_be_loaded_is_refused_and_the_others_go_on(served, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidInputError, match=r"'broken' cannot be loaded from"):
        served.engine.load("broken", str(tmp_path))
    assert served.engine.models() == ["base", "tuned"]
    assert served.ask("base", "Hi")


def test_release_ends_the_child_and_leaves_one_without_weights(served):
    before = served.ask("base", "Hi")
    pid = served.health()["child_pid"]
    served.engine.release()
    assert gone(pid)
    found = served.health()
    assert (found["weights_in_memory"], found["models_in_memory"]) == (False, [])
    assert not gone(found["child_pid"])
    assert served.engine.models() == ["base", "tuned"]
    assert served.ask("base", "Hi") == before


def test_a_killed_child_costs_only_the_requests_in_flight(served):
    before = served.ask("base", "Hi")
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(served.ask, "base", "Hi", n=16, temperature=1, max_tokens=900)
        with pytest.raises(TimeoutError):
            flying.result(timeout=0.3)
        os.kill(served.health()["child_pid"], signal.SIGKILL)
        with pytest.raises(openai.InternalServerError) as caught:
            flying.result()
    assert caught.value.status_code == 503
    assert caught.value.response.headers["Retry-After"] == "1"
    assert served.ask("base", "Hi") == before


def test_a_killed_engine_leaves_no_child_and_comes_back_with_its_names(tiny_llama, tiny_adapter, tmp_path):
    engine = EngineProcess(tmp_path, dtype="float32")
    engine.engine.load("tuned", str(tiny_llama), str(tiny_adapter))
    before = engine.ask("tuned", "Hi")
    pid = engine.health()["child_pid"]
    engine.kill()
    assert gone(pid)
    with pytest.raises(UnavailableError, match="does not answer"):
        engine.engine.models()
    again = EngineProcess(tmp_path, dtype="float32")
    try:
        assert again.engine.models() == ["tuned"]
        assert again.ask("tuned", "Hi") == before
    finally:
        again.stop()
