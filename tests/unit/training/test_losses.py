"""The losses against their formulas, and the saved work against the plain way."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from services.training.config import TrainConfig
from services.training.run.collator import Batch, collate_rows
from services.training.run.data import EncodedRow, encode_rows
from services.training.run.losses import cdpo_loss, chosen_nll, preference_loss, sequence_logps, token_logps
from services.training.run.model import load_policy, load_tokenizer

PAIRS = [EncodedRow([5, 6, 7, 8], [[9, 10, 11], [12, 2]]), EncodedRow([20, 21], [[22, 2], [23, 24, 25, 26, 2]])]


def batch_of(rows: list[EncodedRow], share: bool, dtype: torch.dtype = torch.float32) -> Batch:
    return collate_rows(rows, 2, share_prompt=share, mask_dtype=dtype)


@pytest.fixture
def policy(dpo_config: TrainConfig) -> Any:
    return load_policy(dpo_config, longest=64, bf16=False)


def test_cdpo_without_smoothing_is_the_sigmoid_loss() -> None:
    difference = torch.tensor([-30.0, -1.5, 0.0, 0.3, 4.0, 50.0])
    wanted = -torch.nn.functional.logsigmoid(0.1 * difference)
    assert torch.equal(cdpo_loss(difference, 0.1, 0.0), wanted)


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
@pytest.mark.parametrize("value", [-7.0, 0.0, 2.5])
def test_cdpo_follows_its_formula(smoothing: float, value: float) -> None:
    right = math.log(1 / (1 + math.exp(-0.2 * value)))
    wrong = math.log(1 / (1 + math.exp(0.2 * value)))
    wanted = -(1 - smoothing) * right - smoothing * wrong
    assert cdpo_loss(torch.tensor(value), 0.2, smoothing).item() == pytest.approx(wanted, rel=1e-5)


def test_cdpo_is_smallest_at_the_smoothing_odds() -> None:
    best = math.log((1 - 0.2) / 0.2)
    around = torch.tensor([best - 0.5, best, best + 0.5])
    assert cdpo_loss(around, 1.0, 0.2).argmin() == 1


@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_ipo_follows_its_formula_over_token_means(beta: float) -> None:
    gained, counts = torch.tensor([4.0, -3.0, 1.0, 5.0]), torch.tensor([2, 3, 4, 5])
    found = preference_loss(gained, counts, loss="ipo", beta=beta, smoothing=0.0)
    wanted = [((4 / 2 - -3 / 3) - 1 / (2 * beta)) ** 2, ((1 / 4 - 5 / 5) - 1 / (2 * beta)) ** 2]
    assert found.tolist() == pytest.approx(wanted)


def test_the_preference_loss_is_cdpo_over_sums() -> None:
    gained, counts = torch.tensor([4.0, -3.0, 1.0, 5.0]), torch.tensor([2, 3, 4, 5])
    found = preference_loss(gained, counts, loss="sigmoid", beta=0.1, smoothing=0.2)
    assert torch.equal(found, cdpo_loss(torch.tensor([7.0, -4.0]), 0.1, 0.2))


def test_the_sft_term_is_the_chosen_answers_mean(policy: Any) -> None:
    batch = batch_of(PAIRS, True)
    with torch.no_grad():
        tokens = token_logps(policy, batch, bf16=False)
        found = chosen_nll(sequence_logps(tokens, batch["owners"], 4), torch.bincount(batch["owners"]))
        wanted = [-full_logps(policy, row.prompt + row.completions[0], len(row.prompt)).mean() for row in PAIRS]
    torch.testing.assert_close(found, torch.stack(wanted), atol=2e-5, rtol=1e-5)


def full_logps(model: Any, ids: list[int], start: int) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return torch.stack([logits[position - 1, ids[position]] for position in range(start, len(ids))])


@pytest.mark.parametrize("share", [False, True])
def test_token_logps_equal_the_full_forward(policy: Any, share: bool) -> None:
    with torch.no_grad():
        found = token_logps(policy, batch_of(PAIRS, share), bf16=False)
        wanted = [full_logps(policy, row.prompt + tail, len(row.prompt)) for row in PAIRS for tail in row.completions]
    torch.testing.assert_close(found, torch.cat(wanted), atol=2e-5, rtol=1e-5)


def test_a_shared_prompt_gives_the_same_gradients(policy: Any) -> None:
    gradients = []
    for share in (False, True):
        policy.zero_grad()
        torch.autograd.backward(token_logps(policy, batch_of(PAIRS, share), bf16=False).sum())
        gradients.append([p.grad.clone() for p in policy.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for plain, shared in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, shared, atol=2e-4, rtol=1e-4)


SCHEMA = [(7 * place) % 90 + 3 for place in range(40)]
PROMPT_GROUP = [
    EncodedRow([*SCHEMA, 5, 6], [[9, 10, 11], [12, 2]]),
    EncodedRow([20, 21], [[22, 2], [23, 24, 25, 26, 2]]),
    EncodedRow([*SCHEMA, 8], [[9, 2], [14, 15, 2]]),
    EncodedRow([*SCHEMA, 5, 6, 7], [[13, 2], [2]]),
]


def grouped_batch(rows: list[EncodedRow], share: bool = True) -> Batch:
    return collate_rows(rows, 2, share_prompt=share, mask_dtype=torch.float32, group_prompts=True)


def test_a_prompt_group_follows_one_copy_of_its_shared_prefix() -> None:
    batch, apart = grouped_batch(PROMPT_GROUP), grouped_batch(PROMPT_GROUP, share=False)
    assert batch["input_ids"].shape == (2, 40 + 2 + 5 + 1 + 5 + 3 + 3)
    assert apart["input_ids"].shape[0] == 8  # a model that cannot share gets every completion by itself
    assert int(batch["tokens"]) == sum(row.total for row in PROMPT_GROUP)


def packed(rows: list[EncodedRow]) -> Batch:
    return collate_rows(rows, 2, share_prompt=True, mask_dtype=torch.float32, packed=True)


HEAD = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
ROOTED = [EncodedRow([*HEAD, *row.prompt], row.completions) for row in PROMPT_GROUP]
LONG = [EncodedRow([*HEAD, *(place % 90 + 3 for place in range(size))], [[9, 2], [14, 15, 2]]) for size in (30, 540)]


def test_packed_lines_lie_end_to_end_behind_what_all_begin_with() -> None:
    plain, rooted = packed(PROMPT_GROUP), packed(ROOTED)
    assert plain["segment_lengths"].tolist() == [0, 58 + 1, 2 + 7]  # prompt groups share, nothing is padded
    assert rooted["segment_lengths"].tolist() == [10, 59, 9]
    assert rooted["input_ids"].shape == rooted["position_ids"].shape == (1, 78)
    assert rooted["attention_mask"].shape == (1, 1, 78, 69)
    assert int(rooted["tokens"]) == sum(row.total for row in ROOTED)


def test_a_lone_family_needs_no_root() -> None:
    assert packed(ROOTED[:1])["segment_lengths"].tolist() == [0, ROOTED[0].total]


LAYOUTS = {"padded": grouped_batch, "packed": packed}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [PROMPT_GROUP, ROOTED, LONG], ids=["grouped", "rooted", "long"])
@pytest.mark.parametrize("completions", [1, 2])
def test_prompt_groups_have_the_numbers_and_gradients_of_rows_alone(
    policy: Any, completions: int, rows: list[EncodedRow], layout: str
) -> None:
    rows = [EncodedRow(row.prompt, row.completions[:completions]) for row in rows]
    sums, gradients = [], []
    for batch in (batch_of(rows, False), LAYOUTS[layout](rows)):
        policy.zero_grad()
        found = sequence_logps(token_logps(policy, batch, bf16=False), batch["owners"], len(rows) * completions)
        torch.autograd.backward((found * torch.arange(1, len(found) + 1)).sum())
        sums.append(found.detach())
        gradients.append([p.grad.clone() for p in policy.parameters() if p.grad is not None])
    torch.testing.assert_close(*sums, atol=2e-5, rtol=1e-5)
    assert len(gradients[0]) == len(gradients[1]) > 0
    for alone, together in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, together, atol=2e-4, rtol=1e-4)


def test_a_scaled_head_goes_through_the_models_own_forward(policy: Any) -> None:
    batch = batch_of(PAIRS, True)
    with torch.no_grad():
        direct = token_logps(policy, batch, bf16=False)
        policy.config.logit_scale = 1.0
        del policy.get_base_model().forward  # what a model's head does is asked once
        through = token_logps(policy, batch, bf16=False)
    torch.testing.assert_close(direct, through)


def test_sft_loss_equals_the_models_own(sft_config: TrainConfig, tiny_base: Path) -> None:
    tokenizer = load_tokenizer(sft_config)
    rows = encode_rows(sft_config, tokenizer)[0][:5]
    model = load_policy(sft_config, longest=64, bf16=False)
    width = max(row.total for row in rows)
    ids = torch.tensor([[*r.prompt, *r.completions[0], *[2] * (width - r.total)] for r in rows])
    labels = torch.tensor([[*[-100] * len(r.prompt), *r.completions[0], *[-100] * (width - r.total)] for r in rows])
    with torch.no_grad():
        stock = model(input_ids=ids, labels=labels).loss
        ours = -token_logps(model, batch_of(rows, True), bf16=False).mean()
    assert ours.item() == pytest.approx(stock.item(), rel=1e-5)


def test_sequence_logps_sum_by_owner() -> None:
    sums = sequence_logps(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 2]), 3)
    assert sums.tolist() == [1.0, 0.0, 6.0]
