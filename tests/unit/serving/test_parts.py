"""Sampling, the registry, thread counts, stop strings: each by itself."""

import json

import pytest
import torch

from services.serving.embedded.decoding import make_sampler, sample_tokens
from services.serving.embedded.model_process import GenerationTask
from services.serving.embedded.scheduler import ActiveRequest, free_threads
from services.serving.registry import Registry, ServedModel
from shared.errors import ConflictError, InvalidInputError, NotFoundError


def test_greedy_and_drawn_rows_in_one_batch():
    scores = torch.tensor([[0.0, 5.0, 1.0], [0.0, 0.0, 50.0]])
    assert sample_tokens(scores, [make_sampler(0, 1, 0, 0), make_sampler(1.0, 1, 0, 0)]) == [1, 2]


def test_draws_follow_the_chances_and_top_p_cuts_the_tail():
    scores = torch.log(torch.tensor([[0.6, 0.3, 0.1]]))
    whole, cut = make_sampler(1.0, 1.0, 3, 0), make_sampler(1.0, 0.8, 3, 0)
    drawn = [sample_tokens(scores, [whole])[0] for _ in range(3000)]
    assert [drawn.count(token) / 3000 for token in range(3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.04)
    kept = [sample_tokens(scores, [cut])[0] for _ in range(3000)]
    assert [kept.count(token) / 3000 for token in range(3)] == pytest.approx([2 / 3, 1 / 3, 0.0], abs=0.04)
    assert kept.count(2) == 0


def test_top_p_over_a_flat_vocabulary_reaches_beyond_the_first_candidates():
    sampler = make_sampler(1.0, 0.9, 1, 0)
    drawn = {sample_tokens(torch.zeros(1, 4000), [sampler])[0] for _ in range(1500)}
    assert len(drawn) > 700


@pytest.fixture
def folders(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text("{}")
    (adapter / "adapter_config.json").write_text("{}")
    return str(base), str(adapter)


def test_registry_keeps_names_over_a_restart_and_refuses_to_change_them(tmp_path, folders):
    base, adapter = folders
    registry = Registry(tmp_path / "state")
    registry.add(ServedModel(name="m", base_dir=base))
    assert registry.add(ServedModel(name="m", base_dir=base)).model.name == "m"
    with pytest.raises(ConflictError, match="immutable"):
        registry.add(ServedModel(name="m", base_dir=base, adapter_dir=adapter))
    again = Registry(tmp_path / "state")
    assert again.get("m").model == ServedModel(name="m", base_dir=base)
    again.remove("m")
    assert json.loads((tmp_path / "state" / "models.json").read_text()) == []
    with pytest.raises(NotFoundError, match="none yet"):
        Registry(tmp_path / "state").get("m")


def test_registry_checks_folders(tmp_path, folders):
    base, adapter = folders
    registry = Registry(tmp_path / "state")
    for model, error in [
        (ServedModel(name="m", base_dir=str(tmp_path / "no")), NotFoundError),
        (ServedModel(name="m", base_dir="base"), InvalidInputError),
        (ServedModel(name="m", base_dir=adapter), InvalidInputError),
        (ServedModel(name="m", base_dir=base, adapter_dir=base), InvalidInputError),
    ]:
        with pytest.raises(error):
            registry.add(model)
    assert registry.names() == []


def test_threads_are_what_others_leave_and_at_least_one():
    assert [free_threads(2, 2, used) for used in (-0.1, 0.2, 0.9, 1.4, 2.0)] == [2, 2, 1, 1, 1]
    assert free_threads(2, 16, 3.0) == 2


class Letters:
    """A tokenizer whose tokens are code points."""

    def decode(self, tokens, skip_special_tokens):
        return "".join(map(chr, tokens))


def test_stop_strings_cut_the_answer_and_a_stream_never_shows_their_beginning():
    sent = []
    task = GenerationTask(
        model=ServedModel(name="m", base_dir="/m"),
        messages=[],
        n=1,
        temperature=0,
        top_p=1,
        max_tokens=99,
        seed=0,
        stop=["END"],
        stream=True,
    )
    answer = ActiveRequest(1, task, (1, 2), Letters(), sent.append)
    row = answer.sequences[0]
    for letter in "SEN ENDED":
        if row.finish is None:
            row.tokens.append(ord(letter))
            answer.after_token(row)
    answer.finish()
    assert [message["text"] for message in sent[:-1]] == ["S", "EN "]
    assert sent[-1]["choices"][0] == {"index": 0, "text": "SEN ", "finish_reason": "stop"}
