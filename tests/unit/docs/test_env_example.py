"""`.env.example` names every setting, with its default, and nothing else."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from services.cli.stack.config import DEFAULT_PORTS
from shared.llm.endpoints import ENVIRONMENT_FIELDS, ENVIRONMENT_PREFIX

ROOT = Path(__file__).parents[3]
FILE = ROOT / ".env.example"
LINE = re.compile(r"^(?P<off>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$")
# Read by name where they are used, not by a settings class.
PLAIN = {"SENSE_API_KEY": "services/cli/terminal.py", "SENSE_URL": "services/cli/terminal.py"}
EXAMPLE_ENDPOINT = f"{ENVIRONMENT_PREFIX}MY_SERVER_"


def find_classes() -> list[type[BaseSettings]]:
    """Every settings class that a module of services or shared defines."""
    found: list[type[BaseSettings]] = []
    for path in sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if "(BaseSettings)" not in text:
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        names = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        found += [one for one in (getattr(module, name) for name in names) if issubclass(one, BaseSettings)]
    return found


CLASSES = find_classes()


def variable(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def fields() -> dict[str, list[FieldInfo]]:
    """Fields by variable: two classes may read the same one."""
    found: dict[str, list[FieldInfo]] = {}
    for settings in CLASSES:
        for name, field in settings.model_fields.items():
            found.setdefault(variable(settings, name, field), []).append(field)
    return found


def entries() -> dict[str, tuple[bool, str]]:
    """Whether each variable of the file is switched on, and its value."""
    found: dict[str, tuple[bool, str]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if match := LINE.match(line):
            assert match["name"] not in found, f"{match['name']} stands twice in .env.example"
            found[match["name"]] = (not match["off"], match["value"])
    return found


def test_settings_classes_are_found() -> None:
    assert {"RedisSettings", "StoreSettings", "LlmSettings", "GatewaySettings"} <= {one.__name__ for one in CLASSES}


def test_no_setting_is_missing() -> None:
    assert sorted(set(fields()) - set(entries())) == []


def test_no_variable_is_unknown() -> None:
    ports = {f"SENSE_PORT_{name.upper()}" for name in DEFAULT_PORTS}
    endpoint = {f"{EXAMPLE_ENDPOINT}{name}" for name in ENVIRONMENT_FIELDS}
    assert sorted(set(entries()) - set(fields()) - set(PLAIN) - ports - endpoint) == []


@pytest.mark.parametrize(("name", "path"), sorted(PLAIN.items()))
def test_plain_variables_are_read_where_the_test_says(name: str, path: str) -> None:
    assert f'"{name}"' in (ROOT / path).read_text(encoding="utf-8")


def test_secrets_are_empty_and_off() -> None:
    secrets = [
        name
        for name, same in fields().items()
        if any(field.annotation == SecretStr | None for field in same) or name.endswith("_API_KEY")
    ]
    assert {"SENSE_STORE_ACCESS_KEY", "SENSE_STORE_SECRET_KEY", "OPENAI_API_KEY"} <= set(secrets)
    assert {name: entries()[name] for name in secrets} == dict.fromkeys(secrets, (False, ""))


def test_every_variable_has_a_comment_before_it() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    bare = [line for above, line in zip(["", *lines], lines, strict=False) if LINE.match(line) and above[:2] != "# "]
    assert bare == []


@pytest.mark.parametrize("settings", CLASSES, ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_the_file_as_it_stands_says_the_defaults(settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in fields():
        monkeypatch.delenv(name, raising=False)
    before = settings()
    for name, (on, value) in entries().items():
        if on:
            monkeypatch.setenv(name, value)
    changed = {
        name
        for name in settings.model_fields
        if getattr(settings(), name) != getattr(before, name)
        # the clients' view of the engine's address: unset means that no endpoint `engine` is offered
        and variable(settings, name, settings.model_fields[name]) != "SENSE_ENGINE_URL"
    }
    assert changed == set()
