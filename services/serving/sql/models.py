"""The served models as the SQL service uses them: the engine's chat API, the default model, and the prompt style."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx

from shared.contracts.records import Message, PromptStyle
from shared.errors import InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.llm.responses import read_choice
from shared.models.manifest import ModelManifest, read_manifest
from shared.sql.prompt import PLAIN_STYLE, read_prompt_version
from shared.storage.keys import model_manifest_key
from shared.storage.records import read_lines
from shared.storage.store import ObjectStore

TOO_LONG = "context_length_exceeded"
DEFAULT_SAMPLE_ROWS = 3
PROMPTS_READ = 100  # training prompts; the one with the most sample rows shows how many there were
SAMPLE_ROWS_MARK = "/* first rows:\n"
ERROR_TYPES: dict[int, type[SenseError]] = {400: InvalidInputError, 404: NotFoundError, 422: InvalidInputError}


@dataclass(frozen=True)
class Completions:
    """The answers to one prompt and their tokens; `cut_off` of them ended at `max_tokens`."""

    texts: list[str]
    prompt_tokens: int
    completion_tokens: int
    cut_off: int = 0


@dataclass(frozen=True)
class SamplingParams:
    n: int
    temperature: float
    seed: int
    max_tokens: int


@dataclass(frozen=True)
class ListedModel:
    """A served model, and since when (seconds since 1970)."""

    id: str
    created: int


class ChatEngine:
    """One engine at `url`, without /v1."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http, self._url = http, url.rstrip("/")

    async def models(self) -> list[ListedModel]:
        answer = await self._call("GET", "/v1/models", None)
        return [ListedModel(str(one["id"]), int(one.get("created") or 0)) for one in answer["data"]]

    async def write(self, model: str, messages: Sequence[Message], params: SamplingParams) -> Completions:
        """Raises NotFoundError (not served), InvalidInputError (code context_length_exceeded), UnavailableError."""
        body = {
            "model": model,
            "messages": [message.model_dump() for message in messages],
            "n": params.n,
            "temperature": params.temperature,
            "seed": params.seed,
            "max_tokens": params.max_tokens,
        }
        answer = await self._call("POST", "/v1/chat/completions", body)
        try:
            choices = [read_choice(choice, place) for place, choice in enumerate(answer["choices"])]
            usage = answer.get("usage") or {}
            prompt, written = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
            cut_off = sum(one.finish_reason == "length" for one in choices)
            return Completions([one.text for one in choices], prompt, written, cut_off)
        except (KeyError, TypeError, ValueError) as error:
            raise UnavailableError(f"the engine gave no answer for {model} that can be read", code="engine") from error

    async def _call(self, method: str, path: str, payload: object) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, self._url + path, json=payload)
            body: dict[str, Any] = answer.json()
        except httpx.HTTPError as error:
            message = f"the engine at {self._url} does not answer ({type(error).__name__}); see: sense status"
            raise UnavailableError(message, code="engine_unavailable") from error
        except ValueError as error:
            raise UnavailableError(f"the engine at {self._url} answered {answer.status_code} without JSON") from error
        if answer.is_error:
            raise engine_error(answer.status_code, body)
        return body


def engine_error(status: int, body: object) -> SenseError:
    """The engine's error as one of ours. All errors about the length of the prompt get the code `TOO_LONG`."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    message = str(error.get("message") or f"the engine answered {status} without saying why")
    code = str(error.get("code") or "engine_error")
    # vLLM says it only in the message
    if code == TOO_LONG or "context length" in message or "max_model_len" in message:
        return InvalidInputError(message, code=TOO_LONG)
    kind = ERROR_TYPES.get(status, UnavailableError)
    return kind(message, code="model_not_found" if status == 404 else code if not code.isdigit() else "engine_error")


def choose_model(served: Sequence[ListedModel], objects: ObjectStore) -> str:
    """The model that answers if the request names none.

    That is the one that the job of the newest trained model promoted, if it is served; else the newest trained one;
    else the newest. Raises NotFoundError if nothing is served.
    """
    if not served:
        raise NotFoundError("no model is served; train and deploy one with: sense demo", code="model_not_found")
    # the id decides between models of the same second
    newest = sorted(served, key=lambda one: (one.created, one.id), reverse=True)
    trained = [one.id for one in newest if is_trained(objects, one.id)]
    if not trained:
        return newest[0].id
    promoted = promoted_model(objects, read_manifest(objects, trained[0]).job_id)
    return promoted if promoted in trained else trained[0]


def is_trained(objects: ObjectStore, name: str) -> bool:
    try:
        return objects.exists(model_manifest_key(name))
    except SenseError:
        return False  # the name cannot be a key


def promoted_model(objects: ObjectStore, job_id: str) -> str | None:
    keys = [key for key in objects.list(f"reports/{job_id}/") if key.endswith(".json")]
    for key in sorted(keys, reverse=True):
        chosen = (json.loads(objects.get(key)).get("promotion") or {}).get("model")
        if isinstance(chosen, str):
            return chosen
    return None


class TrainedPrompts:
    """The style of a model's training prompts: from its manifest, else counted in its training data."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._known: dict[str, tuple[int, PromptStyle]] = {}

    def of(self, model: str) -> tuple[int, PromptStyle]:
        """Sample rows per table, and the style; the defaults for models that were not trained here."""
        if model not in self._known:
            self._known[model] = self._read(model)
        return self._known[model]

    def _read(self, model: str) -> tuple[int, PromptStyle]:
        if not is_trained(self._objects, model):
            return DEFAULT_SAMPLE_ROWS, PLAIN_STYLE
        manifest = read_manifest(self._objects, model)
        if (named := read_prompt_version(manifest.prompt_version)) is not None:
            return named
        # the prompt version of this manifest names no style
        counts = [count_sample_rows(prompt) for prompt in training_prompts(self._objects, manifest)]
        return (min(max(counts), 5) if counts else DEFAULT_SAMPLE_ROWS), PLAIN_STYLE


def training_prompts(objects: ObjectStore, manifest: ModelManifest) -> Iterator[str]:
    if not objects.exists(manifest.data.key):
        return
    for line in islice(read_lines(objects, manifest.data.key), PROMPTS_READ):
        prompt = json.loads(line).get("prompt")
        if isinstance(prompt, list) and prompt:
            yield str(prompt[-1]["content"])
        elif isinstance(prompt, str):
            yield prompt


def count_sample_rows(prompt: str) -> int:
    blocks = (block.partition("*/") for block in prompt.split(SAMPLE_ROWS_MARK)[1:])
    return max((max(0, rows.count("\n") - 1) for rows, end, _ in blocks if end), default=0)
