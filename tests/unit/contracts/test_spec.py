"""A spec: defaults that work, every fault at once with its path, nothing unknown."""

from typing import Any

import pytest

from shared.contracts.spec import KINDS, SpecError, parse_spec

NEEDED: dict[str, dict[str, Any]] = {
    "sft": {"data": "job:abc"},
    "dpo": {"data": "job:abc", "parent": "m"},
    "deployment": {"model": "m"},
    "evaluation": {"models": ["m"]},
}


def faults_of(data: object) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(data)
    assert caught.value.code == "invalid_spec" and caught.value.http_status == 422
    for fault in caught.value.faults:
        assert fault["path"] in caught.value.message
    return {fault["path"]: fault["message"] for fault in caught.value.faults}


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_of_every_kind_are_valid(kind: str) -> None:
    spec = parse_spec({"kind": kind} | NEEDED.get(kind, {}))
    assert spec.kind == kind
    assert parse_spec(spec.model_dump(mode="json")) == spec, "what is stored can be read again"


@pytest.mark.parametrize("kind", NEEDED)
def test_what_has_no_default_is_asked_for(kind: str) -> None:
    assert set(faults_of({"kind": kind})) == set(NEEDED[kind])


def test_all_faults_come_at_once_with_their_paths() -> None:
    data = {
        "kind": "pipeline",
        "name": "",
        "seed": -1,
        "train": {"sft": [{"synthesis": 2}, {"synthesis": 40, "levels": {"easy": 0}}]},
        "strong": {"endpoint": "openai"},
        "weak": {"samples": 1},
        "prompt": {"rows": 9},
        "evaluate": [{"dataset": "Spider dev"}],
        "dpo": {"betta": 0.1},
        "lern": 1,
    }
    faults = faults_of(data)
    assert set(faults) == {
        "name",
        "seed",
        "train.sft.0.synthesis",
        "train.sft.1",
        "strong",
        "weak.samples",
        "prompt.rows",
        "evaluate.0.dataset",
        "dpo.betta",
        "lern",
    }
    assert "share above zero" in faults["train.sft.1"]
    assert not any(message.startswith("Value error") for message in faults.values())


@pytest.mark.parametrize("section", ["strong", "weak"])
@pytest.mark.parametrize("given", [{"endpoint": "openai"}, {"model": "gpt-4o"}])
def test_an_endpoint_needs_its_model(section: str, given: dict[str, str]) -> None:
    faults = faults_of({"kind": "pairing", section: given})
    assert set(faults) == {section}
    assert "both endpoint and model" in faults[section]


@pytest.mark.parametrize(
    "field", ["api_key", "base_url", "endpoint_url", "path", "databases_dir"], ids=lambda field: field
)
def test_no_secret_and_no_address_has_a_place(field: str) -> None:
    strong = {"endpoint": "openai", "model": "m", field: "x"}
    assert set(faults_of({"kind": "synthesis", "strong": strong})) == {f"strong.{field}"}


@pytest.mark.parametrize("data", [None, [], "kind: pipeline", 3])
def test_a_spec_is_a_mapping(data: object) -> None:
    assert set(faults_of(data)) == {"(spec)"}


@pytest.mark.parametrize("data", [{}, {"kind": "magic"}])
def test_a_kind_is_named(data: dict[str, str]) -> None:
    faults = faults_of(data)
    assert set(faults) == {"(spec)"}
    assert "kind" in faults["(spec)"]
