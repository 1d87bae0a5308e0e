"""vLLM for real, behind our front: two adapters, our proxy, `/v1/sql`, deaths and reloads. `make test-vllm` runs it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import openai
import pytest

from services.sandbox.building.databases import make_card
from services.serving.registry import logprob_distance
from shared.api.sql import SqlRequest
from shared.client.client import SenseClient
from shared.errors import ConflictError, InvalidInputError
from shared.sql.prompt import SYSTEM_PROMPT, render_messages
from tests.support.asking import serve_asking
from tests.support.gateway import make_backend, serve
from tests.support.sandbox import SHOP, make_database, serve_sandbox
from tests.support.small_model import small_model
from tests.support.valkey import module_redis_url
from tests.unit.serving.vllm_process import FrontProcess

__all__ = ["module_redis_url"]
PYTHON = os.environ.get("SENSE_VLLM_PYTHON", "")
pytestmark = [pytest.mark.vllm, pytest.mark.skipif(not PYTHON, reason="make test-vllm sets SENSE_VLLM_PYTHON")]
ASKED = [{"role": "user", "content": "What is the capital of France?"}]


QUESTION = "How many customers are there?"
TAUGHT = {"one": "SELECT count(*) FROM customer", "two": "SELECT count(id) FROM customer WHERE id > 0"}


def make_adapter(base: Path, folder: Path, rank: int, prompt: list[dict[str, str]], answer: str, steps: int) -> Path:
    """An adapter that has learnt one answer by heart."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # two stand in each other's way where the machine has other work
    torch.manual_seed(rank)
    tokenizer = AutoTokenizer.from_pretrained(base)
    begin = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    end = tokenizer(f"{answer}<|im_end|>", add_special_tokens=False).input_ids
    tokens = torch.tensor([[*begin, *end]])
    labels = torch.tensor([[-100] * len(begin) + end])
    targets = ["q_proj", "v_proj", "o_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=2e-3)
    for _ in range(steps):
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base() -> Path:
    return small_model()


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two that answer the question about the shop each in its own words, and one of too high a rank."""
    root = tmp_path_factory.mktemp("adapters")
    make_database(root / "shop.sqlite", SHOP)
    card = make_card(root / "shop.sqlite", "0" * 64)
    prompt = [message.model_dump() for message in render_messages(card, QUESTION)]
    made = {"one": (8, TAUGHT["one"], 20), "two": (16, TAUGHT["two"], 20), "wide": (64, TAUGHT["one"], 1)}
    return {
        name: make_adapter(base, root / name, rank, prompt, answer, steps)
        for name, (rank, answer, steps) in made.items()
    }


@pytest.fixture(scope="module")
def front(base: Path, adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    options = os.environ.get("SENSE_VLLM_OPTIONS", "--max-model-len 4096")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    process = FrontProcess(tmp_path_factory.mktemp("front"), python=PYTHON, options=options, max_lora_rank="16")
    began = time.monotonic()
    process.engine.load("shop-one-1", str(base), str(adapters["one"]))
    started = time.monotonic() - began
    process.engine.load("shop-two-1", str(base), str(adapters["two"]))
    process.engine.load(base.name, str(base))
    second = time.monotonic() - began - started
    tell(f"vLLM started with the first adapter after {started:.0f} s, the second and the base in {second:.1f} s")
    yield process
    process.stop()


def tell(text: str) -> None:
    """What the run showed, for docs/vllm.md."""
    print(f"\n[vllm] {text}", flush=True)


def vllm_url(front: FrontProcess) -> str:
    words = Path(f"/proc/{front.health()['child_pid']}/cmdline").read_bytes().split(b"\0")
    return f"http://127.0.0.1:{words[words.index(b'--port') + 1].decode()}"


def test_adapters_and_base_answer_each_under_its_own_name(front: FrontProcess, base: Path) -> None:
    names = ["shop-one-1", "shop-two-1", base.name]
    assert set(names) == set(front.engine.models())
    answers = [front.ask(name, ASKED[0]["content"], max_tokens=16) for name in names]
    tell(f"three answers: {dict(zip(names, answers, strict=True))}")
    assert len(set(answers)) == 3
    with ThreadPoolExecutor(6) as pool:
        mixed = list(pool.map(lambda name: front.ask(name, ASKED[0]["content"], max_tokens=16), names * 2))
    equal = sum(one == other for one, other in zip(mixed, answers * 2, strict=True))
    tell(f"the same six at once: {equal} of 6 are equal to the answers alone (bfloat16 sums may differ by batch)")
    assert equal >= 4


def test_reference_logprobs_tell_adapters_apart_and_come_back(front: FrontProcess) -> None:
    rows = json.loads((Path(front.process.args[-1]) / "models.json").read_text())
    apart = {
        row["model"]["name"]: logprob_distance(row["reference"]["model"], row["reference"]["base"])
        for row in rows
        if row["reference"]["base"]
    }
    rounded = {name: round(far, 3) for name, far in apart.items()}
    tell(f"reference log-probabilities, largest difference to the base's: {rounded}")
    assert min(apart.values()) > 0.1


def test_what_vllm_receives_is_the_trainings_prompt(front: FrontProcess, base: Path) -> None:
    from transformers import AutoTokenizer

    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": "CREATE TABLE t (a);\nQuestion: é?"},
    ]
    own = AutoTokenizer.from_pretrained(base).apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    body = {"model": base.name, "messages": messages, "add_generation_prompt": True}
    found = httpx.post(f"{vllm_url(front)}/tokenize", json=body, timeout=60).json()["tokens"]
    assert list(own) == found


def test_names_ranks_and_templates_are_refused(front: FrontProcess, base: Path, adapters: dict[str, Path]) -> None:
    with pytest.raises(ConflictError, match="immutable"):
        front.engine.load("shop-one-1", str(base), str(adapters["two"]))
    with pytest.raises(InvalidInputError, match="rank 64"):
        front.engine.load("wide-1", str(base), str(adapters["wide"]))
    broken = adapters["one"].parent / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_bytes((adapters["one"] / "adapter_config.json").read_bytes())
    (broken / "adapter_model.safetensors").write_bytes(
        (adapters["one"] / "adapter_model.safetensors").read_bytes()[:5000]
    )
    with pytest.raises(InvalidInputError, match="vLLM refuses 'broken-1'"):
        front.engine.load("broken-1", str(base), str(broken))
    assert "broken-1" not in front.engine.models()
    assert front.ask("shop-one-1", "Hi")


def test_through_the_gateway_with_the_openai_client_and_v1_sql(
    front: FrontProcess, module_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_STATE", str(tmp_path / "state"))
    with ExitStack() as stack:
        sandbox = stack.enter_context(serve_sandbox(tmp_path))
        asking = stack.enter_context(serve_asking(sandbox.objects, front.url, sandbox.url))
        backend = make_backend(
            module_redis_url, sandbox.objects.root, engine_url=front.url, serving_url=asking, sandbox=sandbox.settings
        )
        url = stack.enter_context(serve(backend))
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)
        for name in ("shop-one-1", "shop-two-1"):
            how = {"model": name, "messages": ASKED, "max_tokens": 12, "temperature": 0}
            whole = client.chat.completions.create(**how).choices[0].message.content
            parts = client.chat.completions.create(**how, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in parts if chunk.choices)
            tell(f"through the gateway {name}: {whole!r}")
        two = client.completions.create(model="shop-one-1", prompt="SELECT", max_tokens=4, n=2, logprobs=1)
        assert len(two.choices) == 2
        assert two.choices[0].logprobs is not None
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="shop-one-1", messages=ASKED, temperature=9)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="absent", messages=ASKED)
        make_database(tmp_path / "shop.sqlite", SHOP)
        with SenseClient(url) as sense:
            database = sense.upload_database(tmp_path / "shop.sqlite").id
            asked = SqlRequest(
                question=QUESTION, database_id=database, n=2, temperature=0.2, execute=True, max_tokens=48
            )
            for name in ("one", "two"):
                answer = sense.ask(asked.model_copy(update={"model": f"shop-{name}-1"}))
                rows = answer.result.rows if answer.result else None
                tell(f"/v1/sql by {answer.model}: {answer.sql!r}, {answer.outcome}, {rows}, {answer.tokens}")
                assert (answer.sql, rows) == (TAUGHT[name], [[3]])


def test_a_removal_waits_for_its_requests(front: FrontProcess, base: Path, adapters: dict[str, Path]) -> None:
    front.engine.load("passing-1", str(base), str(adapters["two"]))
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(front.ask, "passing-1", "Count to one hundred.", max_tokens=48)
        time.sleep(1.0)
        front.engine.unload("passing-1")
        assert flying.result(timeout=120)
    with pytest.raises(openai.NotFoundError):
        front.ask("passing-1", "Hi")
    with pytest.raises(ConflictError, match="was removed"):
        front.engine.load("passing-1", str(base), str(adapters["one"]))


def test_a_vllm_that_is_killed_under_load_comes_back_with_its_adapters(front: FrontProcess) -> None:
    before = front.ask("shop-two-1", ASKED[0]["content"])
    keeper = front.health()["child_pid"]
    vllm = int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()[0])
    with ThreadPoolExecutor(4) as pool:
        flying = [pool.submit(front.ask, "shop-two-1", "Tell a story.", max_tokens=200) for _ in range(4)]
        time.sleep(2.0)
        os.kill(vllm, signal.SIGKILL)
        errors = [one.exception() for one in flying]
    assert all(isinstance(one, openai.InternalServerError) and one.status_code == 503 for one in errors)
    assert {one.body["code"] for one in errors} == {"engine_died"}
    began = time.monotonic()
    patient = front.openai.with_options(max_retries=5)  # as clients are: a request may meet what is left of the old one
    again = patient.chat.completions.create(model="shop-two-1", messages=ASKED, temperature=0, max_tokens=12)
    assert again.choices[0].message.content == before
    back = time.monotonic() - began
    tell(f"killed under 4 requests: each 503 engine_died; the next answer, the same as before, after {back:.0f} s")


def test_a_release_gives_the_memory_back(front: FrontProcess) -> None:
    keeper = front.health()["child_pid"]
    front.engine.release()
    assert not Path(f"/proc/{keeper}").exists()
    assert front.health()["weights_in_memory"] is False
    assert "shop-one-1" in front.engine.models()
