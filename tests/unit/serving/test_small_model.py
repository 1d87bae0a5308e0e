"""The decode loop with the small model: equal to generate in float32, close in bfloat16, answers over HTTP."""

import pytest

from tests.support.small_model import MODELS, small_model
from tests.unit.serving.engine_process import EngineProcess

FOLDER = MODELS / "smollm2-135m"

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", autouse=True)
def converted() -> None:
    """Everything here needs the weights on disk."""
    assert small_model() == FOLDER


TABLES = ["rivers", "songs", "planets", "recipes"]
LENGTH = 20


def make_prompts(tokenizer) -> list[tuple[int, ...]]:
    prompts = []
    for place in range(20):
        table = TABLES[place % 3] if place < 18 else TABLES[3]
        schema = f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT, size REAL, year INTEGER);\n" * 2
        question = ["List all", "Count the", "Which are the largest"][place % 3] + f" {table} after {1950 + 7 * place}"
        messages = [
            {"role": "system", "content": "Answer with one SQLite query and nothing else."},
            {"role": "user", "content": f"{schema}Question: {question}?"},
        ]
        prompts.append(tuple(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)))
    return prompts


def write(loaded, prompts) -> list[list[int]]:
    from services.serving.embedded.decoding import DecodedSequence, DecodingBatch, SequenceGroup, make_sampler
    from services.serving.embedded.prefix_cache import PrefixCache

    batch = DecodingBatch(loaded.llama, PrefixCache(loaded.llama, 8192), loaded.eos_token_ids)
    rows = [DecodedSequence(make_sampler(0, 1, 0, 0), LENGTH) for _ in prompts]
    batch.advance([SequenceGroup(prompt, [row]) for prompt, row in zip(prompts, rows, strict=True)])
    while batch.sequences:
        batch.advance()
    return [row.tokens for row in rows]


def reference(prompts, ends) -> list[list[int]]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=LENGTH, do_sample=False)[0]
        answers.append([token for token in whole[len(prompt) :].tolist() if token not in ends])
    return answers


def test_greedy_answers_are_those_of_generate_in_float32_and_close_in_bfloat16():
    import torch

    from services.serving.embedded.model_cache import load_model

    loaded = load_model(FOLDER, None, torch.float32)
    prompts = make_prompts(loaded.tokenizer)
    expected = reference(prompts, loaded.eos_token_ids)
    assert write(loaded, prompts) == expected
    assert [write(loaded, [prompt])[0] for prompt in prompts[:4]] == expected[:4]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        rounded = write(load_model(FOLDER, None, torch.bfloat16), prompts)
        first_equal = sum(own[:1] == other[:1] for own, other in zip(rounded, expected, strict=True))
        assert first_equal >= 17


def test_the_small_model_answers_over_http(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSE_ENGINE_DTYPE", "float32")  # bfloat16 rounds differently on every kind of processor
    engine = EngineProcess(tmp_path)
    try:
        engine.engine.load("small", str(FOLDER))
        assert "Paris" in engine.ask("small", "What is the capital of France?", max_tokens=20)
    finally:
        engine.stop()
