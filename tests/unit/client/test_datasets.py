"""The client's datasets: real gateway, real store."""

import pytest

from services.gateway.backend import Backend
from shared.catalog.databases import SchemaCard
from shared.client.client import RejectedError, SenseClient
from shared.errors import NotFoundError
from shared.storage.keys import card_key
from tests.support.datasets import make_example, make_head

DATABASE = "ab" * 32


def test_bring_list_look_browse(client: SenseClient, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [make_example(n, DATABASE) for n in range(7)]
    with pytest.raises(RejectedError, match="there is no database") as rejected:
        client.add_dataset(make_head(), examples)
    assert rejected.value.faults[0].path == "line 2"
    card = SchemaCard(database_id=DATABASE, tables=[])
    backend.objects.put(card_key(DATABASE), card.model_dump_json().encode())
    made = client.add_dataset(make_head(), examples)
    assert (made.questions, made.health and made.health.golds) == (7, 3)
    monkeypatch.setattr("shared.client.client.PAGE_SIZE", 2)
    assert [one.index for one in client.dataset_examples("singers")] == list(range(7))
    assert [one.index for one in client.dataset_examples("singers", hardness="easy", limit=2)] == [1, 3]
    assert [one.version for one in client.datasets()] == [made.version]
    assert client.dataset("singers", version=made.version) == made
    with pytest.raises(NotFoundError) as absent:
        client.dataset("absent")
    assert absent.value.code == "dataset_not_found"
