"""The shape of everything that one version writes and another may read: plans, commands, rows, manifests, archives.

`python -m tests.contract.wire` writes it to wire.txt, a line a field, where the data version allows it.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import shared.contracts
from shared.catalog.databases import SchemaCard, Upload
from shared.contracts.base import TaskContract
from shared.contracts.registry import CONTRACTS
from shared.jobs.events import Event
from shared.jobs.plan import JobPlan
from shared.jobs.state import ErrorInfo, JobRecord, ShardRecord, StageState
from shared.llm.messages import RecordedAnswer
from shared.models.manifest import ModelManifest
from shared.processes.health import DATA_VERSION

PAGE = Path(__file__).with_name("wire.txt")
HEAD = "data version"
# What people write, checked anew by whoever reads it; an old Sense says which field it does not know.
SPECS = ("shared.contracts.spec", "shared.contracts.spec", "shared.contracts.spec")
# Words that say nothing about what can be read.
SILENT = frozenset({"title", "description", "default", "examples"})
Shapes = dict[str, str]


def wire_models() -> list[type[BaseModel]]:
    """All models of the contracts but specs and contracts themselves, and what else is stored."""
    found: dict[str, type[BaseModel]] = {}
    for module in pkgutil.iter_modules(shared.contracts.__path__, "shared.contracts."):
        for one in vars(importlib.import_module(module.name)).values():
            if not isinstance(one, type) or not issubclass(one, BaseModel) or one in (BaseModel, TaskContract):
                continue
            if one.__module__.startswith("shared.contracts.") and one.__module__ not in SPECS:
                found[f"{one.__module__}.{one.__qualname__}"] = one
    stored: list[type[BaseModel]] = [
        JobPlan,
        JobRecord,
        ShardRecord,
        StageState,
        ErrorInfo,
        Event,
        RecordedAnswer,
        ModelManifest,
        SchemaCard,
        Upload,
    ]
    return [*(found[name] for name in sorted(found)), *stored]


def shapes() -> Shapes:
    """Every field by its model's name and its own, every enum, and for each task what it takes and leaves."""
    schema = models_json_schema([(model, "validation") for model in wire_models()], ref_template="{model}")[1]
    lines: Shapes = {}
    for name, one in schema["$defs"].items():
        if "properties" not in one and one.get("type") != "object":
            lines[name] = compact(one)
            continue
        lines[name] = "closed" if one.get("additionalProperties") is False else "open"
        for field, described in one.get("properties", {}).items():
            needed = "required" if field in one.get("required", []) else "optional"
            lines[f"{name}.{field}"] = f"{needed} {compact(described)}"
    for task in CONTRACTS.values():
        parts = (task.queue.value, task.command.__name__, task.event, task.counts.__name__, ",".join(task.outputs))
        lines[f"task {task.name}"] = " ".join(parts)
    return dict(sorted(lines.items()))


def compact(described: Any) -> str:
    """A schema as one line, without words for people."""
    return json.dumps(spoken(described), sort_keys=True, separators=(",", ":"))


def spoken(described: Any) -> Any:
    """The same without what is silent; the names of an object's fields are no keywords."""
    if isinstance(described, list):
        return [spoken(one) for one in described]
    if not isinstance(described, dict):
        return described
    return {
        key: {name: spoken(one) for name, one in value.items()} if key == "properties" else spoken(value)
        for key, value in described.items()
        if key not in SILENT
    }


def incompatible(old: Shapes, new: Shapes) -> Iterator[str]:
    """What one of two versions cannot read of the other's, a phrase each."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        owner = name.rpartition(".")[0]
        if name.startswith("task "):
            yield f"{name} was {before or 'not there'} and is {after or 'gone'}"
        elif before is None and owner not in old:
            continue  # a new model: whoever holds it has changed too, or it is new as a whole
        elif after is None and owner not in new:
            continue
        elif owner and old.get(owner) == new.get(owner) == "open" and None in (before, after):
            if (before or after or "").startswith("required"):
                yield f"{name} was {'added' if before is None else 'removed'}, and readers need it"
        else:
            yield f"{name} was {before or 'not there'} and is {after or 'gone'}"


def read_page(text: str) -> tuple[int, Shapes]:
    """The committed data version and shapes."""
    first, *lines = text.splitlines()
    return int(first.removeprefix(HEAD)), dict(line.split(": ", 1) for line in lines if line)


def write_page(version: int, lines: Shapes) -> str:
    """As `read_page` reads it."""
    return "".join([f"{HEAD} {version}\n", *(f"{name}: {shape}\n" for name, shape in lines.items())])


def fault(committed: str, version: int, now: Shapes) -> str | None:
    """What has to be done before this can be committed; None where nothing has."""
    known, then = read_page(committed)
    broken = list(incompatible(then, now))
    if broken and version <= known:
        return (
            f"one version cannot read the other's data any more ({'; '.join(broken)[:2000]}): raise DATA_VERSION in "
            f"shared/processes/health.py from {version} to {known + 1}, say there what changed, and run: "
            "python -m tests.contract.wire"
        )
    if then != now or known != version:
        return "tests/contract/wire.txt is not of this version: run python -m tests.contract.wire and commit it"
    return None


def main() -> int:
    """Writes the page, unless the data version has to be raised first."""
    now = shapes()
    told = fault(PAGE.read_text(), DATA_VERSION, now) if PAGE.exists() else None
    if told and "DATA_VERSION" in told:
        print(told, file=sys.stderr)
        return 1
    PAGE.write_text(write_page(DATA_VERSION, now))
    return 0


if __name__ == "__main__":
    sys.exit(main())
