"""Settings of the model endpoints. The operator's profiles themselves are read by `shared.llm.profiles`."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class LlmSettings(BaseSettings):
    """`SENSE_ENDPOINTS_FILE`, `SENSE_ENGINE_URL`, and the two names that OpenAI's own tools use."""

    model_config = SettingsConfigDict(env_prefix="SENSE_", extra="ignore", populate_by_name=True)

    endpoints_file: Path | None = None
    engine_url: str | None = None
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str = Field(default="https://api.openai.com/v1", validation_alias="OPENAI_BASE_URL")
