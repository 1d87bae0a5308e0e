"""Any OpenAI client works through the gateway: the real client, the real gateway, the real embedded engine."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.gateway import make_backend, serve
from tests.support.valkey import module_redis_url
from tests.unit.serving.engine_process import EngineProcess

__all__ = ["module_redis_url"]
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def gateway(served: EngineProcess, module_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("objects")
    with serve(make_backend(module_redis_url, root, engine_url=served.url, max_body_bytes=50_000)) as url:
        yield url


@pytest.fixture(scope="module")
def client(gateway: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway}/v1", api_key="none", max_retries=0, timeout=240)


def chat(client: openai.OpenAI, **more):
    return client.chat.completions.create(
        **{"model": "base", "messages": HI, "max_tokens": 12, "temperature": 0, **more}
    )


def complete(client: openai.OpenAI, **more):
    return client.completions.create(**{"model": "base", "prompt": "SELECT", "max_tokens": 8, "temperature": 0, **more})


def test_models_have_names_and_the_time_of_their_deployment(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert [model.id for model in models] == ["base", "tuned"]
    assert all(abs(model.created - time.time()) < 3600 for model in models)


def test_chat_whole_and_streamed_are_the_same(client: openai.OpenAI, served: EngineProcess) -> None:
    whole = chat(client)
    assert whole.choices[0].message.content == served.ask("base", "Hi")
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("length", 12)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 12


def test_several_answers_come_whole_and_streamed(client: openai.OpenAI) -> None:
    how = {"n": 3, "temperature": 1, "seed": 5}
    whole = [choice.message.content for choice in chat(client, **how).choices]
    assert len(set(whole)) == 3
    texts, ends = ["", "", ""], ["", "", ""]
    for chunk in chat(client, stream=True, **how):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert (texts, ends) == (whole, ["length"] * 3)


def test_stop_seed_and_bounds_do_what_they_say(client: openai.OpenAI) -> None:
    whole = chat(client).choices[0].message.content
    stopped = chat(client, stop=[whole[3:5]]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (whole[: whole.index(whole[3:5])], "stop")
    first, again, other = (chat(client, temperature=1, seed=seed).choices[0].message.content for seed in (1, 1, 2))
    assert first == again != other
    assert chat(client, max_completion_tokens=3).usage.completion_tokens == 3


def test_completions_continue_a_text(client: openai.OpenAI) -> None:
    whole = complete(client, prompt=["SELECT", "WITH x"], n=2, temperature=1, seed=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.object == "text_completion"
    alone = complete(client)
    chunks = list(complete(client, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == alone.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert alone.choices[0].text != complete(client, model="tuned").choices[0].text


@pytest.mark.parametrize(
    ("fault", "status", "code", "word"),
    [
        ({"logprobs": True}, 400, "invalid_request", "logprobs"),
        ({"temperature": 3}, 400, "invalid_request", "temperature"),
        ({"n": 0}, 400, "invalid_request", "n"),
        ({"n": 17}, 400, "invalid_input", "n is 17"),
        ({"messages": []}, 400, "invalid_request", "messages"),
        ({"extra_body": {"top_k": 5}}, 400, "invalid_request", "top_k"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, 400, "context_length_exceeded", "takes 1024"),
        ({"model": "absent"}, 404, "model_not_found", "base, tuned"),
        ({"messages": [{"role": "user", "content": "x" * 60_000}]}, 413, "body_too_large", "50000 bytes"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_errors_have_openais_shape(client: openai.OpenAI, fault: dict, status: int, code: str, word: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        chat(client, **fault)
    assert (caught.value.status_code, caught.value.body["code"]) == (status, code)
    assert {"message", "type", "param", "code"} == set(caught.value.body)
    assert word in caught.value.body["message"]


@pytest.mark.parametrize("fault", [{"logprobs": 2}, {"echo": True}, {"best_of": 2}, {"suffix": "x"}, {"prompt": []}])
def test_completions_name_what_they_cannot_do(client: openai.OpenAI, fault: dict) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **fault)
    assert next(iter(fault)) in caught.value.body["message"]


def test_other_faults_of_the_address_have_it_too(gateway: str) -> None:
    wrong = httpx.post(f"{gateway}/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (415, "unsupported_media_type")
    absent = httpx.get(f"{gateway}/v1/completions")
    assert (absent.status_code, absent.json()["error"]["type"]) == (405, "invalid_request_error")
    broken = httpx.post(f"{gateway}/v1/completions", content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_the_generation(gateway: str, served: EngineProcess, stream: bool) -> None:
    body = {"model": "base", "messages": HI, "n": 12, "max_tokens": 900, "temperature": 1, "stream": stream}
    with cut(gateway, body):
        assert wait_requests(served, lambda count: count == 1)
    assert wait_requests(served, lambda count: count == 0, 5.0)


class cut:  # noqa: N801 - reads as a statement
    """A request whose connection is dropped at the block's end."""

    def __init__(self, gateway: str, body: dict) -> None:
        host, port = gateway.removeprefix("http://").split(":")
        content = json.dumps(body).encode()
        self.line = socket.create_connection((host, int(port)))
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self.line.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.line.close()


def wait_requests(served: EngineProcess, right, limit_s: float = 20.0) -> bool:
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        if right(served.health()["requests"]):
            return True
        time.sleep(0.02)
    return False


def test_an_engine_that_is_away_is_503_in_openais_shape(module_redis_url: str, tmp_path: Path) -> None:
    with serve(make_backend(module_redis_url, tmp_path)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.InternalServerError) as caught:
            chat(client)
    assert (caught.value.status_code, caught.value.body["code"]) == (503, "engine_unavailable")
