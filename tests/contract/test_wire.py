"""What one version writes another one reads, or is told not to: the data version rises with the shapes."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, create_model

from shared.processes.health import DATA_VERSION
from tests.contract.wire import PAGE, Shapes, compact, fault, incompatible, read_page, shapes, write_page


def test_the_data_version_rose_with_what_changed() -> None:
    """Fails with what to do: raise the version, or write the page anew."""
    if told := fault(PAGE.read_text(), DATA_VERSION, shapes()):
        pytest.fail(told)


def test_the_page_is_read_as_it_is_written() -> None:
    now = shapes()
    assert read_page(write_page(7, now)) == (7, now)
    assert len(now) > 300 and {"JobPlan", "JobRecord", "BuildPairs.judged", "task pairing.collect"} <= now.keys()


def of(**models: type[BaseModel]) -> Shapes:
    """Shapes as `shapes` gives them."""
    lines: Shapes = {}
    for name, model in models.items():
        schema = model.model_json_schema()
        lines[name] = "closed" if schema.get("additionalProperties") is False else "open"
        for field, described in schema["properties"].items():
            lines[f"{name}.{field}"] = (
                f"{'required' if field in schema.get('required', []) else 'optional'} " + compact(described)
            )
    return lines


def model(extra: Any, **fields: Any) -> type[BaseModel]:
    return create_model("M", __config__=ConfigDict(extra=extra), **fields)


BASE: dict[str, Any] = {"a": (int, ...), "b": (str, "x")}
NEW_OPTIONAL, NEW_NEEDED, OTHER_TYPE = {**BASE, "c": (int, 0)}, {**BASE, "c": (int, ...)}, {**BASE, "a": (str, ...)}


@pytest.mark.parametrize(
    ("extra", "fields", "breaks"),
    [
        ("forbid", NEW_OPTIONAL, True),  # an older worker refuses a field that it does not know
        ("forbid", NEW_NEEDED, True),
        ("forbid", {"a": (int, ...)}, True),
        ("ignore", NEW_OPTIONAL, False),
        ("ignore", {"a": (int, ...)}, False),
        ("ignore", NEW_NEEDED, True),
        ("ignore", {"b": (str, "x")}, True),
        ("ignore", OTHER_TYPE, True),
        ("forbid", OTHER_TYPE, True),
        ("forbid", BASE, False),
        ("ignore", {**BASE, "b": (str, "another default")}, False),
    ],
)
def test_what_breaks_readers_and_what_does_not(extra: str, fields: dict[str, Any], breaks: bool) -> None:
    old, new = of(M=model(extra, **BASE)), of(M=model(extra, **fields))
    assert bool(list(incompatible(old, new))) is breaks
    assert bool(list(incompatible(new, old))) is breaks, "going back is as hard as going on"
    told = fault(write_page(3, old), 3, new)
    assert (told is not None and "raise DATA_VERSION in shared/processes/health.py from 3 to 4" in told) is breaks
    assert "DATA_VERSION" not in (fault(write_page(3, old), 4, new) or ""), "raised is raised"


def test_a_new_task_or_another_fact_breaks_too() -> None:
    old = {"task a.b": "a B a.done C x", "E": '{"enum":["one"]}'}
    assert list(incompatible(old, {**old, "task a.c": "a D a.made F y"}))
    assert list(incompatible(old, {**old, "task a.b": "a B a.done C x,z"}))
    assert list(incompatible(old, {**old, "E": '{"enum":["one","two"]}'})), "an older reader refuses the new word"
    assert not list(incompatible(old, {**old, "New": "closed", "New.a": "required {}"}))
