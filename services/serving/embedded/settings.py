"""Settings of the embedded engine; each reads `SENSE_ENGINE_<NAME>` from the environment."""

import os
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class EngineSettings(BaseSettings):
    """How much the engine may use. Both of its processes read the same environment.

    `rows`: sequences decoded at once. `tokens`: of their prompts and answers together, which bounds memory; a request
    that needs more by itself runs alone. `threads`: of torch at most; fewer while other processes use the cores.
    `dtype`: `auto` is bfloat16 where the processor is known to be faster in it, else float32.
    `models_in_memory`: merged copies kept, the least recently used goes first; SmolLM2-135M takes 0.65 GB
    in float32, half of it in bfloat16. `prefix_tokens`: prompt tokens whose keys and values are kept per model (46 KB
    each for SmolLM2-135M in float32). `share_prefixes`: off only to compare with and without.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_ENGINE_", extra="ignore")

    rows: int = Field(default=48, ge=1, le=512)
    tokens: int = Field(default=65_536, ge=1024)
    threads: int = Field(default=min(2, os.cpu_count() or 1), ge=1)
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    models_in_memory: int = Field(default=5, ge=1)
    prefix_tokens: int = Field(default=16_384, ge=0)
    share_prefixes: bool = True
    default_max_tokens: int = Field(default=256, ge=1)
