"""Settings of the embedded engine, of the front before vLLM, and of the SQL service."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import BaseSettings, InternalSettings


class EmbeddedEngineSettings(BaseSettings):
    """Read from `SENSE_ENGINE_<NAME>` by both processes of the engine.

    `max_sequences`: decoded at once. `tokens`: of their prompts and answers together, which bounds memory; a request
    that needs more runs alone. `threads`: torch threads at most; fewer while other processes use the cores.
    `dtype`: `auto` is bfloat16 if the processor is known to be faster in it (`shared/processes/cpu.py`), else float32.
    `models_in_memory`: merged copies that are kept, least recently used out first; SmolLM2-135M takes 0.65 GB in
    float32, half of that in bfloat16. `prefix_tokens`: tokens whose keys and values are kept per model (46 KB each for
    SmolLM2-135M in float32). `share_prefixes`: switch it off only to measure the difference.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_ENGINE_", extra="ignore")

    max_sequences: int = Field(default=48, ge=1, le=512)
    tokens: int = Field(default=65_536, ge=1024)
    threads: int = Field(default=min(2, os.cpu_count() or 1), ge=1)
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    models_in_memory: int = Field(default=5, ge=1)
    prefix_tokens: int = Field(default=16_384, ge=0)
    share_prefixes: bool = True
    default_max_tokens: int = Field(default=256, ge=1)


class VllmSettings(BaseSettings):
    """Read from `SENSE_VLLM_<NAME>`. Times in seconds.

    `python`: interpreter of vLLM's own environment; the front starts vLLM when a model is needed and ends it at a
    release. `url`: a vLLM that somebody else runs, instead; it needs --enable-lora and
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and `api_key` if it was started with one. `options`: more options of vLLM's
    command line. The two LoRA limits are vLLM's own.
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
        """The API key of an external vLLM; for a vLLM that we start, the token of our services."""
        if self.api_key is not None:
            return self.api_key.get_secret_value() or None
        return InternalSettings().secret if self.url is None else None


class SqlServiceSettings(BaseSettings):
    """Read from `SENSE_SERVING_<NAME>`. `at_once`: questions answered at a time; more are refused.

    `engine_s`: timeout of one call to the engine.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_SERVING_", extra="ignore")

    at_once: int = Field(default=64, ge=1)
    engine_s: float = Field(default=600.0, gt=0)
