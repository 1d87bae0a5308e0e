"""Every key of DESIGN section 6, and the rules for all of them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInputError
from shared.storage import keys

SHA = "ab" * 32


def test_the_keys_of_the_design() -> None:
    assert keys.database_key(SHA) == f"databases/{SHA}.sqlite"
    assert keys.card_key(SHA) == f"databases/{SHA}.json"
    assert keys.upload_key(1_700_000_000_000, SHA) == f"uploads/01700000000000-{SHA}.json"
    assert keys.upload_key(0, SHA).startswith(keys.UPLOADS_PREFIX)
    assert keys.dataset_key("spider-dev", "1", "tables/a.json") == "datasets/spider-dev/1/tables/a.json"
    assert keys.answer_key(SHA) == f"answers/{SHA}.json"
    assert keys.shard_key("job-1", "weak", 7, 2, "rows.jsonl") == "jobs/job-1/weak/7.2.rows.jsonl"
    assert keys.export_key("job-1", "collect", "dpo.jsonl") == "jobs/job-1/collect/export/dpo.jsonl"
    assert keys.checkpoint_key("job-1", "sft", 40, "adapter/a.bin") == "jobs/job-1/sft/checkpoint-40/adapter/a.bin"
    assert keys.checkpoint_key("job-1", "sft", 40, "a").startswith(keys.checkpoints_prefix("job-1", "sft"))
    assert keys.metrics_key("job-1", "sft") == "jobs/job-1/sft/metrics.jsonl"
    assert keys.model_key("m", "tokenizer/vocab.json") == "models/m/tokenizer/vocab.json"
    assert keys.model_manifest_key("m") == "models/m/manifest.json"
    assert keys.report_key("job-1", "eval.base", "html") == "reports/job-1/eval.base.html"
    assert keys.archive_key("job-1", "events.jsonl") == "jobs/job-1/events.jsonl"


@pytest.mark.parametrize("identifier", ["../x", "a/b", "", "..", "a\n", "x" * 201])
def test_an_id_cannot_leave_its_place(identifier: str) -> None:
    makers: list[Callable[[], str]] = [
        lambda: keys.shard_key(identifier, "stage", 0, 1, "rows.jsonl"),
        lambda: keys.export_key("job", identifier, "sft.jsonl"),
        lambda: keys.model_key(identifier, "manifest.json"),
        lambda: keys.archive_key("job", identifier),
    ]
    for make in makers:
        with pytest.raises(InvalidInputError):
            make()


def test_long_parts_count_bytes_too() -> None:
    keys.check_key("x" * 200)
    with pytest.raises(InvalidInputError):
        keys.check_key("日" * 100)
    with pytest.raises(InvalidInputError):
        keys.check_key("/".join(["x" * 190] * 5))


@given(st.text(max_size=30))
def test_an_accepted_key_stays_below_its_root_and_lists_by_its_own_prefixes(text: str) -> None:
    try:
        key = keys.check_key(text)
    except InvalidInputError:
        return
    assert not key.startswith("/")
    assert ".." not in key.split("/")
    for end in range(len(key) + 1):
        assert keys.check_prefix(key[:end]) == key[:end]


def test_parents() -> None:
    assert keys.parents("a/b/c") == ["a", "a/b"]
    assert keys.parents("a") == []
