"""What every engine can do, whatever serves behind it (the embedded engine, vLLM)."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict


class ServedModel(BaseModel):
    """A name that an engine answers to, and the folders behind it (on the engine's disk)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    base_dir: str
    adapter_dir: str | None = None


class Engine(Protocol):
    """An engine answers OpenAI-style chat requests for the names it was given.

    Names are immutable: `load` of a known name with the same folders does nothing, with others it raises ConflictError.
    """

    def load(self, name: str, base_dir: str, adapter_dir: str | None = None) -> ServedModel:
        """Serve a model under a name. Raises NotFoundError, InvalidInputError, ConflictError, UnavailableError."""
        ...

    def unload(self, name: str) -> None:
        """Stop serving a name. Raises NotFoundError where it is not served."""
        ...

    def release(self) -> None:
        """Give all memory of weights back; names stay and are loaded again when asked for."""
        ...

    def models(self) -> list[str]:
        """The served names, sorted."""
        ...

    def healthy(self) -> bool:
        """Whether the engine answers."""
        ...
