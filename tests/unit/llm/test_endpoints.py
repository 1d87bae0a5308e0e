"""Endpoint profiles come from the operator alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import InvalidInputError
from shared.llm.call import retry_after_s
from shared.llm.endpoints import LlmSettings, find_profile, load_profiles


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SENSE_ENDPOINTS_FILE", "SENSE_ENGINE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_set_nothing_there() -> None:
    assert load_profiles(LlmSettings(), {}) == {}
    with pytest.raises(InvalidInputError, match=r"'my-llm' is not set.*SENSE_ENDPOINT_MY_LLM_BASE_URL"):
        find_profile({}, "my-llm")


def test_openai_and_the_engine_are_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    monkeypatch.setenv("SENSE_ENGINE_URL", "http://127.0.0.1:8077")
    profiles = load_profiles(LlmSettings(), {"SENSE_ENDPOINT_OPENAI_MODELS": "gpt-4o, gpt-4o-mini"})
    assert sorted(profiles) == ["engine", "openai"]
    assert profiles["openai"].models == ["gpt-4o", "gpt-4o-mini"]
    assert profiles["openai"].base_url == "https://api.openai.com/v1"
    assert "sk-hidden" not in repr(profiles)
    assert find_profile(profiles, "engine").base_url == "http://127.0.0.1:8077/v1"


def test_the_engine_is_shown_the_services_token_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SENSE_ENGINE_URL", "http://127.0.0.1:8077")
    monkeypatch.setenv("SENSE_INTERNAL_TOKEN", "a-token")
    engine = load_profiles(LlmSettings(), {"SENSE_ENDPOINT_ENGINE_MAX_CONCURRENCY": "2"})["engine"]
    assert engine.api_key is not None and engine.api_key.get_secret_value() == "a-token"
    elsewhere = {"SENSE_ENDPOINT_ENGINE_BASE_URL": "https://elsewhere.example/v1"}
    assert load_profiles(LlmSettings(), elsewhere)["engine"].api_key is None
    file = tmp_path / "endpoints.yaml"
    file.write_text("engine: {base_url: 'https://elsewhere.example/v1'}")
    assert load_profiles(LlmSettings(endpoints_file=file), {})["engine"].api_key is None
    own = elsewhere | {"SENSE_ENDPOINT_ENGINE_API_KEY": "its-own"}
    found = load_profiles(LlmSettings(), own)["engine"].api_key
    assert found is not None and found.get_secret_value() == "its-own"


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_and_the_environment_on_top(tmp_path: Path, wrapped: bool) -> None:
    file = tmp_path / "endpoints.yaml"
    lines = ["together:", "  base_url: https://a.example/v1", "  max_concurrency: 3", "  usd_per_million_in: 1.5"]
    lines += ["  usd_per_million_out: 2"]
    file.write_text("\n".join(["endpoints:", *(f"  {line}" for line in lines)] if wrapped else lines))
    environ = {"SENSE_ENDPOINT_TOGETHER_API_KEY": "k1", "SENSE_ENDPOINT_MY_OWN_BASE_URL": "http://b.example/v1"}
    profiles = load_profiles(LlmSettings(endpoints_file=file), environ)
    together = profiles["together"]
    assert (together.max_concurrency, together.price(1_000_000, 500_000)) == (3, 2.5)
    assert together.api_key is not None
    assert together.api_key.get_secret_value() == "k1"
    assert profiles["my-own"].price(1, 1) is None


@pytest.mark.parametrize(
    "text", ["- a\n- b", "a: 1", "a: {base_url: [", "a: {base_url: 'ftp://x'}", "a: {base_url: 'http://x', color: red}"]
)
def test_an_unusable_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError):
        load_profiles(LlmSettings(endpoints_file=file), {})


def test_errors_never_hold_the_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'a' has no usable base_url") as caught:
        load_profiles(LlmSettings(), {"SENSE_ENDPOINT_A_API_KEY": "sk-hidden"})
    assert "sk-hidden" not in str(caught.value)
    file = tmp_path / "endpoints.yaml"
    file.write_text("a: {api_key: sk-hidden, base_url: [")
    with pytest.raises(InvalidInputError) as broken:
        load_profiles(LlmSettings(endpoints_file=file), {})
    assert "sk-hidden" not in str(broken.value)


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "7"}) == 7.0
    assert retry_after_s({"retry-after": "7", "retry-after-ms": "250"}) == 0.25
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert (retry_after_s({"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}) or 0.0) > 1e9
    assert retry_after_s({"retry-after": "soon"}) is None


def test_importing_the_client_loads_no_heavy_library() -> None:
    code = (
        "import sys, shared.llm.client; print([name for name in ('openai', 'httpx2', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
