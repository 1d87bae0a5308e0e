"""The decode loop against Hugging Face's own, in float32, where both must agree token for token."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from services.serving.embedded.decoding import DecodedSequence, DecodingBatch, SequenceGroup, make_sampler
from services.serving.embedded.model_cache import LoadedModel, load_model
from services.serving.embedded.prefix_cache import PrefixCache
from tests.unit.serving.tiny import save_model

LENGTH = 16


def write(
    loaded: LoadedModel, prompts, *, share=True, samples=1, temperature=0.0, store=None, cap=100
) -> list[list[int]]:
    """Tokens of every prompt's every choice; at most `cap` prompts are in the batch at once."""
    store = store or PrefixCache(loaded.llama, 4096, sharing=share)
    batch = DecodingBatch(loaded.llama, store, loaded.eos_token_ids)
    rows = [[DecodedSequence(make_sampler(temperature, 0.95, 7, i), LENGTH) for i in range(samples)] for _ in prompts]
    waiting = [SequenceGroup(tuple(prompt), own) for prompt, own in zip(prompts, rows, strict=True)]
    while waiting or batch.sequences:
        free = max(0, cap - len(batch.sequences)) if batch.sequences else cap
        batch.advance(waiting[:free], [group.prompt for group in waiting[free:]])
        waiting = waiting[free:]
    return [row.tokens for own in rows for row in own]


def reference(folder, prompts, ends) -> list[list[int]]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        settings = {"max_new_tokens": LENGTH, "do_sample": False, "pad_token_id": 0}
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0]
        written = whole[len(prompt) :].tolist()
        answers.append([token for token in written if token not in ends])
    return answers


def make_prompts(count: int) -> list[list[int]]:
    """Prompts of three 'schemas' with questions of their own, and a few that share nothing."""
    rng = random.Random(4)
    schemas = [[rng.randrange(256) for _ in range(length)] for length in (40, 75, 130)]
    prompts = [schemas[i % 3] + [rng.randrange(256) for _ in range(rng.randint(1, 20))] for i in range(count - 3)]
    return prompts + [[rng.randrange(256) for _ in range(length)] for length in (2, 17, 90)]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_greedy_answers_are_those_of_generate(kind, tmp_path):
    folder = save_model(tmp_path / kind, kind)
    loaded = load_model(folder, None, torch.float32)
    prompts = make_prompts(20)
    expected = reference(folder, prompts, loaded.eos_token_ids)
    assert len({tuple(answer) for answer in expected}) > 10, (
        "the model says the same to everything: no test of anything"
    )
    assert write(loaded, prompts) == expected
    assert write(loaded, prompts, share=False) == expected
    assert [write(loaded, [prompt])[0] for prompt in prompts] == expected


def test_rows_joining_a_running_batch_change_no_answer(tiny_llama):
    loaded = load_model(tiny_llama, None, torch.float32)
    prompts = make_prompts(20)
    store = PrefixCache(loaded.llama, 300)
    assert write(loaded, prompts, store=store, cap=5) == write(loaded, prompts)
    assert write(loaded, prompts, store=store, cap=3) == write(loaded, prompts, share=False)


def test_a_prefill_in_portions_changes_no_answer(tiny_llama, monkeypatch):
    loaded = load_model(tiny_llama, None, torch.float32)
    prompts = make_prompts(12)
    whole = write(loaded, prompts)
    monkeypatch.setattr("services.serving.embedded.decoding.MAX_PREFILL_TOKENS", 20)
    assert write(loaded, prompts) == whole


def test_what_many_prompts_begin_with_is_computed_once(tiny_llama, monkeypatch):
    loaded, rng = load_model(tiny_llama, None, torch.float32), random.Random(5)
    shots, *schemas = [tuple(rng.randrange(256) for _ in range(length)) for length in (160, 60, 60)]
    prompts = [shots + schemas[i % 2] + tuple(rng.randrange(256) for _ in range(9)) for i in range(6)]
    computed: list[int] = []
    forward = loaded.llama.forward
    monkeypatch.setattr(
        loaded.llama, "forward", lambda plan, **more: computed.append(len(plan.tokens)) or forward(plan, **more)
    )
    store = PrefixCache(loaded.llama, 4096)
    first = store.assign(prompts[:1], waiting=prompts[1:])
    assert [len(prefix) for prefix in first] == [220]
    assert {len(prefix) for prefix in store.assign(prompts[1:])} == {220}
    assert computed == [220, 60]  # the second schema goes on from the examples
    monkeypatch.undo()
    assert write(loaded, prompts, store=store) == write(loaded, prompts, share=False)


def test_samples_depend_on_the_seed_and_not_on_the_company(tiny_llama):
    loaded = load_model(tiny_llama, None, torch.float32)
    prompts = make_prompts(8)
    together = write(loaded, prompts, samples=4, temperature=1.0)
    alone = [tokens for prompt in prompts for tokens in write(loaded, [prompt], samples=4, temperature=1.0)]
    assert together == alone
    assert len({tuple(tokens) for tokens in together[:4]}) == 4


def test_models_on_one_base_share_its_vocabulary_and_answer_as_before(tiny_llama, tiny_adapter, tmp_path):
    base, tuned = load_model(tiny_llama, None, torch.float32), load_model(tiny_llama, tiny_adapter, torch.float32)
    other = load_model(save_model(tmp_path / "other", seed=5), None, torch.float32)
    prompts = make_prompts(6)
    before = [write(one, prompts) for one in (tuned, other)]
    for one in (tuned, other):
        one.llama.share_vocabulary(base.llama)
    assert tuned.llama._embedding is base.llama._embedding
    assert other.llama._embedding is not base.llama._embedding
    assert [write(one, prompts) for one in (tuned, other)] == before


def test_a_merged_adapter_answers_as_peft_does(tiny_llama, tiny_adapter):
    from peft import PeftModel

    loaded = load_model(tiny_llama, tiny_adapter, torch.float32)
    prompts = make_prompts(8)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), tiny_adapter)
    with torch.inference_mode():
        expected = [int(model(torch.tensor([prompt])).logits[0, -1].argmax()) for prompt in prompts]
    assert [tokens[0] for tokens in write(loaded, prompts)] == expected
    assert write(loaded, prompts) != write(load_model(tiny_llama, None, torch.float32), prompts)
