"""Which model answers where none is named, and how its prompt looked in training."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice

from services.serving.asking.engine import Listed
from shared.contracts.records import PromptStyle
from shared.errors import NotFoundError, SenseError
from shared.models.manifest import ModelManifest, read_manifest
from shared.sql.prompt import PLAIN_STYLE, read_prompt_version
from shared.storage.keys import model_manifest_key
from shared.storage.records import read_lines
from shared.storage.store import ObjectStore

DEFAULT_ROWS = 3
LOOKED_AT = 100  # training prompts: the fullest of them shows how many rows there were
SHOWN = "/* first rows:\n"


def choose_model(served: Sequence[Listed], objects: ObjectStore) -> str:
    """The model that the newest trained one's job promoted, where it is served; else the newest trained; else the
    newest. Raises NotFoundError where nothing is served."""
    if not served:
        raise NotFoundError("no model is served; train and deploy one with: sense demo", code="model_not_found")
    newest = sorted(served, key=lambda one: (one.created, one.id), reverse=True)
    trained = [one.id for one in newest if is_trained(objects, one.id)]
    if not trained:
        return newest[0].id
    promoted = promoted_model(objects, read_manifest(objects, trained[0]).job_id)
    return promoted if promoted in trained else trained[0]


def is_trained(objects: ObjectStore, name: str) -> bool:
    """Whether the store has a model of this name; names that cannot be keys have none."""
    try:
        return objects.exists(model_manifest_key(name))
    except SenseError:
        return False


def promoted_model(objects: ObjectStore, job_id: str) -> str | None:
    """What the job's report chose on the selection split, once there is a report."""
    keys = [key for key in objects.list(f"reports/{job_id}/") if key.endswith(".json")]
    for key in sorted(keys, reverse=True):
        chosen = (json.loads(objects.get(key)).get("promotion") or {}).get("model")
        if isinstance(chosen, str):
            return chosen
    return None


class TrainedPrompts:
    """How the prompts looked that a model was trained on: from its manifest, else rows from its training data."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._known: dict[str, tuple[int, PromptStyle]] = {}

    def of(self, model: str) -> tuple[int, PromptStyle]:
        """Example rows a table, and the style; `DEFAULT_ROWS` and plain for models that were not trained here."""
        if model not in self._known:
            self._known[model] = self._read(model)
        return self._known[model]

    def _read(self, model: str) -> tuple[int, PromptStyle]:
        if not is_trained(self._objects, model):
            return DEFAULT_ROWS, PLAIN_STYLE
        manifest = read_manifest(self._objects, model)
        if (named := read_prompt_version(manifest.prompt_version)) is not None:
            return named
        counts = [shown_rows(prompt) for prompt in training_prompts(self._objects, manifest)]
        return (min(max(counts), 5) if counts else DEFAULT_ROWS), PLAIN_STYLE


def training_prompts(objects: ObjectStore, manifest: ModelManifest) -> Iterator[str]:
    """The last turns of the first prompts; none where the data is gone."""
    if not objects.exists(manifest.data.key):
        return
    for line in islice(read_lines(objects, manifest.data.key), LOOKED_AT):
        prompt = json.loads(line).get("prompt")
        if isinstance(prompt, list) and prompt:
            yield str(prompt[-1]["content"])
        elif isinstance(prompt, str):
            yield prompt


def shown_rows(prompt: str) -> int:
    """The most rows that one table shows."""
    blocks = (block.partition("*/") for block in prompt.split(SHOWN)[1:])
    return max((max(0, rows.count("\n") - 1) for rows, end, _ in blocks if end), default=0)
