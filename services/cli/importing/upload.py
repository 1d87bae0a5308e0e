"""A data set on its way into the stack: databases first, each once, then the examples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shared.contracts.datasets import DatasetHead
from shared.contracts.records import Example
from shared.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from shared.client.client import SenseClient
    from shared.client.models import Dataset


def upload(
    client: "SenseClient",
    head: DatasetHead,
    examples: Sequence[Example],
    files: Mapping[str, Path],
    progress: Callable[[int], None],
) -> "Dataset":
    """The stored data set. Raises what the gateway refuses, naming the database."""
    ids = {one.domain: one.database_id for one in examples}
    for name, path in files.items():
        upload_database(client, name, path, ids[name])
        progress(1)
    return client.add_dataset(head, examples)


def upload_database(client: "SenseClient", name: str, path: Path, database_id: str) -> None:
    """Brings one database, unless its content is there. Raises InvalidInputError for a file that changed meanwhile."""
    try:
        client.database(database_id)
    except NotFoundError:
        found = client.upload_database(path, name[:100])
        if found.id != database_id:
            raise InvalidInputError(f"{path} changed while it was imported; run the command again") from None
