"""Nothing in a spec is without bounds: every list, number and text is refused when it is too large, by its path."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from services.orchestrator.planning.compile import MOST_STAGES, compile_spec
from shared.contracts.spec import MAX_MODEL_TEST_PAIRS, MAX_MODELS, SPEC, SpecError, SpecSection, parse_spec
from shared.contracts.training import TrainSettings
from shared.errors import InvalidInputError

UPPER = {"maximum", "exclusiveMaximum", "enum", "const"}
VERSION = "0123456789abcdef"


def unbounded(node: Any, path: str = "") -> Iterator[str]:
    """Paths of lists and numbers that know no largest value."""
    if isinstance(node, dict):
        kind = node.get("type")
        if kind == "array" and "maxItems" not in node:
            yield path
        if kind in ("integer", "number") and not UPPER & set(node):
            yield path
        for name, part in node.items():
            yield from unbounded(part, f"{path}/{name}")
    elif isinstance(node, list):
        for number, part in enumerate(node):
            yield from unbounded(part, f"{path}/{number}")


def sections(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield base
    for one in base.__subclasses__():
        yield from sections(one)


def test_every_list_and_number_of_a_spec_has_a_largest_value() -> None:
    assert list(unbounded(SPEC.json_schema())) == []


@pytest.mark.parametrize("section", sorted({*sections(SpecSection), TrainSettings}, key=lambda one: one.__name__))
def test_every_section_bounds_its_texts(section: type[BaseModel]) -> None:
    assert section.model_config.get("str_max_length", 10**9) <= 1000
    assert section.model_config.get("allow_inf_nan") is False


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"kind": "evaluation", "models": ["m"] * 10_000}, "models"),
        ({"kind": "evaluation", "models": [{"endpoint": "e", "model": "m"}] * 10_000}, "models"),
        ({"kind": "evaluation", "models": ["m" * 501]}, "models.0"),
        ({"kind": "evaluation", "models": ["m"], "evaluate": [{"dataset": "d"}] * 10_000}, "evaluate"),
        ({"kind": "evaluation", "models": ["m"], "evaluate": [{"dataset": "d", "questions": 10**30}]}, "questions"),
        ({"kind": "synthesis", "train": {"sft": [{"dataset": "d"}] * 10_000}}, "train.sft"),
        ({"kind": "synthesis", "strong": {"endpoint": "e" * 10**6, "model": "m"}}, "strong.endpoint"),
        ({"kind": "synthesis", "strong": {"budget_usd": float("inf")}}, "strong.budget_usd"),
        ({"kind": "synthesis", "strong": {"budget_tokens": 2**63}}, "strong.budget_tokens"),
        ({"kind": "sft", "data": "job:" + "j" * 10**5}, "data"),
        ({"kind": "sft", "data": "job:j", "sft": {"preset": "p" * 10**5}}, "sft.preset"),
    ],
)
def test_too_much_is_refused_by_its_path(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(spec)
    assert any(path in fault["path"] for fault in caught.value.faults), caught.value.faults
    assert len(caught.value.faults) < 10


def test_the_largest_evaluation_is_a_plan_that_steps_can_look_at() -> None:
    models = [{"endpoint": "e", "model": f"m{n}"} for n in range(MAX_MODELS - 4)]
    tests = [
        {"dataset": f"d{n}@{VERSION}", "split": "dev", "policy": "strict"}
        for n in range(MAX_MODEL_TEST_PAIRS // len(models))
    ]
    spec = {"kind": "evaluation", "models": models, "evaluate": tests}
    assert len(compile_spec("j", parse_spec(spec), "cpu:0").stages) <= MOST_STAGES
    with pytest.raises(SpecError, match="make it several"):
        parse_spec({**spec, "evaluate": [*tests, {"dataset": "builtin:handwritten"}]})


def test_a_plan_of_too_many_shards_says_what_to_leave_out() -> None:
    tests = [{"dataset": "builtin:held-out", "questions": 10_000_000}]
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="fewer models, test sets or questions"):
        compile_spec("j", parse_spec({"kind": "evaluation", "models": ["m"], "evaluate": tests}), "cpu:0")
    assert time.monotonic() - began < 60
