"""A spec: defaults that work, every fault at once with its path, nothing unknown."""

from typing import Any

import pytest

from shared.contracts.spec import KINDS, PipelineSpec, SpecError, parse_spec

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
        "prompt": {"sample_rows": 9},
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
        "prompt.sample_rows",
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


OWN = [{"id": "ab" * 32}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train": {"sft": [{"user_database_share": 0.5}]}}, "user_database_share needs databases"),
        ({"train": {"sft": [{"dataset": "mine"}]}, "databases": OWN}, "add {synthesis: N}"),
        ({"train": {"sft": [{"user_database_share": 0}]}, "databases": OWN}, "every user_database_share is 0"),
        ({"databases": OWN + OWN}, "stands twice"),
    ],
)
def test_own_databases_need_a_share_and_a_share_needs_databases(given: dict[str, object], said: str) -> None:
    assert said in faults_of({"kind": "synthesis", **given})["(spec)"]


def test_an_own_database_is_named_by_its_hash() -> None:
    assert set(faults_of({"kind": "synthesis", "databases": [{"id": "shop"}]})) == {"databases.0.id"}
    assert set(faults_of({"kind": "synthesis", "databases": [{"file": "shop.sqlite"}]})) >= {"databases.0.file"}
    spec = parse_spec({"kind": "pipeline", "databases": OWN})
    assert isinstance(spec, PipelineSpec) and spec.database_ids == ["ab" * 32]


def test_seeds_and_evidence_are_for_strong_models() -> None:
    for strong in ({"evidence": True}, {"seeds": {"dataset": "spider-train"}}):
        assert "strong model" in faults_of({"kind": "synthesis", "strong": strong})["strong"]
    bad = {"endpoint": "e", "model": "m", "seeds": {"dataset": "Not A Name"}}
    assert set(faults_of({"kind": "synthesis", "strong": bad})) == {"strong.seeds.dataset"}


def test_reasoning_gets_room_unless_the_spec_says_how_much() -> None:
    plain = parse_spec({"kind": "pipeline"})
    long = parse_spec({"kind": "pipeline", "target": "reasoning_sql"})
    short = parse_spec({"kind": "pipeline", "target": "reasoning_sql", "answer_tokens": 90, "weak": {"max_tokens": 80}})
    for spec, answer, weak in ((plain, 128, 128), (long, 512, 512), (short, 90, 80)):
        assert isinstance(spec, PipelineSpec)
        assert (spec.answer_tokens, spec.weak.max_tokens) == (answer, weak)
        assert parse_spec(spec.model_dump(mode="json")) == spec
    scored = parse_spec({"kind": "evaluation", "models": ["m"], "target": "reasoning_sql"})
    assert getattr(scored, "answer_tokens", None) == 512
    assert set(faults_of({"kind": "pipeline", "target": "poem", "weak": 3})) == {"target", "weak"}


def test_the_style_of_prompts_is_the_spec_s() -> None:
    style = parse_spec(
        {
            "kind": "synthesis",
            "prompt": {"sample_rows": 0, "comments": True, "foreign_keys": True},
            "target": "reasoning_sql",
        }
    ).style
    assert (style.comments, style.foreign_keys, style.target) == (True, True, "reasoning_sql")
