"""Settings of the front before vLLM; each reads `SENSE_VLLM_<NAME>` from the environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class VllmSettings(BaseSettings):
    """How vLLM is reached. Times in seconds.

    `python`: interpreter of vLLM's own environment; the front starts it when a model is asked for and ends it at a
    release. `url`: a vLLM that somebody else runs, in place of that; it needs --enable-lora and
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True. `options`: more of vLLM's command line. The two LoRA bounds are vLLM's own.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_VLLM_", extra="ignore")

    python: Path | None = None
    url: str | None = None
    options: str = ""
    max_lora_rank: int = Field(default=64, ge=1)
    max_loras: int = Field(default=4, ge=1)
    start_s: float = Field(default=600.0, gt=0)
    drain_s: float = Field(default=120.0, gt=0, description="how long a removal waits for requests in flight")
