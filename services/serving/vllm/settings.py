"""Settings of the front before vLLM; each reads `SENSE_VLLM_<NAME>` from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.settings import InternalSettings


class VllmSettings(BaseSettings):
    """How vLLM is reached. Times in seconds.

    `python`: interpreter of vLLM's own environment; the front starts it when a model is asked for and ends it at a
    release. `url`: a vLLM that somebody else runs, in place of that; it needs --enable-lora and
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and `api_key` where it was started with one. `options`: more of vLLM's
    command line. The two LoRA bounds are vLLM's own.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_VLLM_", extra="ignore")

    python: Path | None = None
    url: str | None = None
    api_key: SecretStr | None = None
    options: str = ""
    max_lora_rank: int = Field(default=64, ge=1)
    max_loras: int = Field(default=4, ge=1)
    start_s: float = Field(default=600.0, gt=0)
    drain_s: float = Field(default=120.0, gt=0, description="how long a removal waits for requests in flight")

    @property
    def key(self) -> str | None:
        """What vLLM asks for: its own key where one is set; of a vLLM that we start, our services' token."""
        if self.api_key is not None:
            return self.api_key.get_secret_value() or None
        return InternalSettings().secret if self.url is None else None
