"""Endpoint profiles: the operator defines them, specs only name them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from shared.errors import InvalidInputError
from shared.settings import BaseSettings, InternalSettings


class LlmSettings(BaseSettings):
    """`SENSE_ENDPOINTS_FILE`, `SENSE_ENGINE_URL`, and the two variables of OpenAI's own tools."""

    model_config = SettingsConfigDict(env_prefix="SENSE_", extra="ignore", populate_by_name=True)

    endpoints_file: Path | None = None
    engine_url: str | None = None
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str = Field(default="https://api.openai.com/v1", validation_alias="OPENAI_BASE_URL")


ENGINE = "engine"  # our own engine, which costs nothing
ENVIRONMENT_PREFIX = "SENSE_ENDPOINT_"
# The client decides these, since it counts money and answers by them.
RESERVED = frozenset(("model", "messages", "n", "stream", "max_tokens", "max_completion_tokens"))


class EndpointProfile(BaseModel):
    """An OpenAI-compatible server. `base_url` ends where `/chat/completions` begins, usually in `/v1`.

    `models` is an allow list; None allows any model. Prices are dollars per million tokens: both or none. Each process
    finds how many calls at once work, from `start_concurrency` up to `max_concurrency`. `max_tokens_field` is the
    server's name for the limit of an answer. Parameters in `omit` are never sent (`temperature`, `top_p`, `seed`, `n`),
    those in `extra` always. A query in `base_url` goes with every call.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    base_url: str = Field(pattern=r"^https?://\S+$")
    api_key: SecretStr | None = None
    models: list[str] | None = None
    max_concurrency: int = Field(default=256, ge=1)
    start_concurrency: int = Field(default=1, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    usd_per_million_in: float | None = Field(default=None, ge=0)
    usd_per_million_out: float | None = Field(default=None, ge=0)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: list[Literal["temperature", "top_p", "seed", "n"]] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("extra", mode="before")
    @classmethod
    def _read_extra(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError("it is no JSON object") from error
        if isinstance(value, dict) and (taken := sorted(RESERVED & set(value))):
            raise ValueError(f"{taken[0]} is not for a profile to set")
        return value

    @field_validator("models", "omit", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @property
    def secret(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key is not None else None

    @property
    def changes(self) -> dict[str, Any]:
        """What the profile changes in every request, so that answers depend on it."""
        chosen = {"omit": sorted(self.omit), "extra": self.extra}
        return {name: value for name, value in chosen.items() if value}

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        if self.usd_per_million_in is None or self.usd_per_million_out is None:
            return None
        return (prompt_tokens * self.usd_per_million_in + completion_tokens * self.usd_per_million_out) / 1e6


ENVIRONMENT_FIELDS = tuple(name.upper() for name in EndpointProfile.model_fields if name != "name")


def load_profiles(settings: LlmSettings, environ: Mapping[str, str] = os.environ) -> dict[str, EndpointProfile]:
    """All profiles by name: built-in, then the operator's file, then the environment; later fields win.

    Raises `InvalidInputError` for a file or variable that cannot be used; no message holds a key.
    """
    merged: dict[str, dict[str, Any]] = {}
    token = InternalSettings().token
    for source in (_built_in(settings), _from_file(settings.endpoints_file), _from_environment(environ)):
        for name, fields in source.items():
            known = merged.setdefault(name, {})
            if "base_url" in fields and known.get("api_key") == token:
                known.pop("api_key", None)  # the internal token is for our engine, not for a server in its place
            known.update(fields)
    return {name: _make(name, fields) for name, fields in sorted(merged.items())}


def find_profile(profiles: Mapping[str, EndpointProfile], name: str) -> EndpointProfile:
    """Raises `InvalidInputError` with the names of the profiles that exist."""
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise InvalidInputError(
            f"endpoint {name!r} is not set on this server (known: {known}); "
            f"set {ENVIRONMENT_PREFIX}{name.upper().replace('-', '_')}_BASE_URL or name another"
        )
    return profiles[name]


def _built_in(settings: LlmSettings) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if settings.openai_api_key is not None:
        found["openai"] = {"base_url": settings.openai_base_url, "api_key": settings.openai_api_key}
    if settings.engine_url is not None:
        # Our engine batches waiting requests, so that many calls at once cost it nothing.
        url = f"{settings.engine_url.rstrip('/')}/v1"
        own = {"api_key": token} if (token := InternalSettings().token) else {}
        found[ENGINE] = {"base_url": url, "timeout_s": 600.0, "max_concurrency": 128, "start_concurrency": 128, **own}
    return found


def _from_file(path: Path | None) -> dict[str, dict[str, Any]]:
    """YAML or JSON: a mapping of names to fields, bare or under the key `endpoints`."""
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"SENSE_ENDPOINTS_FILE {path} cannot be read; check the path and its owner") from error
    except yaml.YAMLError:
        # The parser's message quotes lines of the file, which holds keys.
        raise InvalidInputError(f"SENSE_ENDPOINTS_FILE {path} is neither YAML nor JSON; check its form") from None
    entries = content.get("endpoints", content) if isinstance(content, dict) else content
    if not isinstance(entries, dict) or not all(isinstance(fields, dict) for fields in entries.values()):
        raise InvalidInputError(f"SENSE_ENDPOINTS_FILE {path} must map endpoint names to their fields")
    return {str(name): fields for name, fields in entries.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for variable, value in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or not value:
            continue
        for field in ENVIRONMENT_FIELDS:
            if variable.endswith(f"_{field}"):
                name = variable.removeprefix(ENVIRONMENT_PREFIX).removesuffix(f"_{field}")
                found.setdefault(name.lower().replace("_", "-"), {})[field.lower()] = value
                break
    return found


def _make(name: str, fields: dict[str, Any]) -> EndpointProfile:
    try:
        return EndpointProfile.model_validate({**fields, "name": name})
    except ValidationError as error:
        # Neither the input nor the cause is shown: both may hold the key.
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"endpoint {name!r} has no usable {field} ({first['msg']}); correct it") from None


def load_profile(name: str) -> EndpointProfile:
    return find_profile(load_profiles(LlmSettings()), name)
