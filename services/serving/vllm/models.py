"""The models that vLLM serves: no model answers before it is loaded and checked.

vLLM does not guarantee that: an adapter answers as soon as it is loaded, a name that is loaded again may meet the cache
of the old one, and a restart forgets all adapters. So each name is loaded only once while vLLM runs, requests are
counted, and a removal waits until they are done.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.serving.registry import (
    BrokenModelError,
    ReferenceLogprobs,
    Registry,
    ServedEntry,
    ServedModel,
    check_weights,
)
from services.serving.settings import VllmSettings
from services.serving.vllm.server import VllmClient, VllmServer
from shared.errors import ConflictError, InvalidInputError, UnavailableError
from shared.logging import get_logger

CHAT_TEMPLATE_FILE = "chat_template.jinja"
ENGINE_DIED = "engine_died"
log = get_logger()


class VllmModels:
    """One vLLM and the names that it serves. Every method runs on one event loop."""

    def __init__(self, registry: Registry, server: VllmServer, client: VllmClient, settings: VllmSettings) -> None:
        self.registry, self.server = registry, server
        self._client, self._settings = client, settings
        self._changing = asyncio.Lock()
        self._life = -1
        self._ids: dict[str, str] = {}  # served name -> vLLM's name, in this life of vLLM
        self._retired: set[str] = set()
        self._leaving: set[str] = set()
        self._in_flight: Counter[str] = Counter()
        self._request_ended = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio holds tasks only weakly

    @property
    def in_memory(self) -> list[str]:
        return sorted(self._ids) if self.server.running and self._life == self.server.life else []

    @property
    def requests(self) -> int:
        return self._in_flight.total()

    async def load(self, model: ServedModel) -> ServedModel:
        """Serves the model once vLLM has loaded it and its weights are checked. If this raises, nothing changes."""
        async with self._changing:
            entry = self.registry.find(model)
            if entry is None:
                self._check(model)
                entry = ServedEntry(model=model, created=0)
                reference = await self._load(entry)
                self.registry.add(model, reference)
                log.info("model.served", model=model.name)
            else:
                await self._load(entry)
        return model

    async def unload(self, name: str) -> None:
        """Refuses new requests, waits for those in flight, then unloads. Raises ConflictError if they do not end."""
        async with self._changing:
            entry = self.registry.get(name)
            # before the wait, so that no new request can prolong it
            self._leaving.add(name)
            try:
                await self._drain(name)
                if entry.model.adapter_dir and name in self.in_memory:
                    await self._client.unload(self.server.url, name)
                self.registry.remove(name)
                self._ids.pop(name, None)
                self._retired.add(name)
            finally:
                self._leaving.discard(name)

    async def release(self) -> None:
        """Frees the memory; names stay, and are loaded and checked again on the next request."""
        async with self._changing:
            await self.server.release()

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[str]:
        """vLLM's name for a served name, which stays loaded until the block ends."""
        entry = self.registry.get(name)
        if name in self._leaving:
            raise UnavailableError(f"The model '{name}' is being removed.", code="model_leaving")
        self._in_flight[name] += 1
        try:
            if name not in self.in_memory:
                await self._reload(name)
            yield self._ids[entry.model.name]
        finally:
            async with self._request_ended:
                self._in_flight[name] -= 1
                self._request_ended.notify_all()

    async def _reload(self, name: str) -> None:
        """Loads a served name again. A caller who disconnects does not stop it: others may wait for it too."""

        async def load() -> None:
            async with self._changing:
                await self._load(self.registry.get(name))

        work = asyncio.create_task(load())
        self._tasks.add(work)
        work.add_done_callback(self._done)
        await asyncio.shield(work)

    def _done(self, work: "asyncio.Task[None]") -> None:
        self._tasks.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.warning("model.not_loaded", reason=str(error)[:300])

    def lost(self, name: str) -> None:
        """vLLM does not know the name any more: the next request loads it again."""
        self._ids.pop(name, None)

    async def _drain(self, name: str) -> None:
        try:
            async with asyncio.timeout(self._settings.drain_s), self._request_ended:
                await self._request_ended.wait_for(lambda: not self._in_flight[name])
        except TimeoutError:
            left, waited = self._in_flight[name], self._settings.drain_s
            raise ConflictError(
                f"The model '{name}' still answers {left} request(s) after {waited:g} s: it stays; remove it later."
            ) from None

    async def _load(self, entry: ServedEntry) -> ReferenceLogprobs | None:
        """Loads and checks the model; starts vLLM again if it has just died. Call it with `_changing` held."""
        try:
            return await self._load_once(entry)
        except UnavailableError as error:
            if error.code != ENGINE_DIED:
                raise
        await self.server.settle()
        return await self._load_once(entry)

    async def _load_once(self, entry: ServedEntry) -> ReferenceLogprobs | None:
        model = entry.model
        base_id = await self.server.ensure(model.base_dir)
        if self._life != self.server.life:
            # a restarted vLLM knows no adapters and has no cache of removed names
            self._life, self._ids = self.server.life, {}
            self._retired.clear()
        if model.name in self._ids:
            return entry.reference
        if model.adapter_dir is None:
            reference = ReferenceLogprobs(model=await self._client.reference_logprobs(self.server.url, base_id))
            reference = check_weights(model.name, reference, entry.reference)
            self._ids[model.name] = base_id
            return reference
        return await self._load_adapter(entry, model.adapter_dir, base_id)

    async def _load_adapter(self, entry: ServedEntry, adapter_dir: str, base_id: str) -> ReferenceLogprobs:
        name, url = entry.model.name, self.server.url
        if name == base_id:
            raise ConflictError(f"The name '{name}' is the base's own in vLLM: give the adapter another one.")
        try:
            await self._client.load(url, name, adapter_dir)
        except ConflictError:
            if entry.reference is None:  # somebody else loaded the name, and nothing is recorded to check it against
                raise
        try:
            found = ReferenceLogprobs(
                model=await self._client.reference_logprobs(url, name),
                base=await self._client.reference_logprobs(url, base_id),
            )
            reference = check_weights(name, found, entry.reference)
        except BaseException as error:
            self._retired.add(name)
            if self.server.running and not isinstance(error, asyncio.CancelledError):
                await self._client.unload(url, name)
            raise
        self._ids[name] = name
        return reference

    def _check(self, model: ServedModel) -> None:
        """Checks everything that is known before loading."""
        if model.name in self._retired:
            raise ConflictError(
                f"The name '{model.name}' was removed from this vLLM, whose cache may know it still: choose another."
            )
        others = {self.registry.get(name).model.base_dir for name in self.registry.names()} - {model.base_dir}
        if others:
            raise ConflictError(
                f"This vLLM serves the base {others.pop()} and '{model.name}' needs {model.base_dir}: one vLLM has one "
                "base. Remove its names first, or start another vLLM."
            )
        if model.adapter_dir:
            check_adapter(model, self._settings.max_lora_rank)


def check_adapter(model: ServedModel, most: int) -> None:
    folder = Path(model.adapter_dir or "")
    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        rank = max([int(config.get("r", 0)), *map(int, (config.get("rank_pattern") or {}).values())])
    except (ValueError, OSError, TypeError, AttributeError) as error:
        raise BrokenModelError(f"The adapter '{model.name}' has no readable adapter_config.json: {error}.") from error
    if rank > most:
        raise InvalidInputError(
            f"The adapter '{model.name}' has LoRA rank {rank} and this engine takes at most {most}: raise "
            "SENSE_VLLM_MAX_LORA_RANK and start it again, or train with a smaller rank.",
            code="lora_rank",
        )
    if not any((folder / file).is_file() for file in ("adapter_model.safetensors", "adapter_model.bin")):
        raise BrokenModelError(f"The adapter '{model.name}' has no weights in {folder}: bring it again.")
    # vLLM takes the base's chat template for all of its adapters
    own, base = folder / CHAT_TEMPLATE_FILE, Path(model.base_dir) / CHAT_TEMPLATE_FILE
    if own.is_file() and (not base.is_file() or own.read_text("utf-8") != base.read_text("utf-8")):
        raise InvalidInputError(
            f"The adapter '{model.name}' was trained with another chat template than its base's, which vLLM would use "
            f"for both: put its {CHAT_TEMPLATE_FILE} into a copy of the base, or merge the adapter."
        )
