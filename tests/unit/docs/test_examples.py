"""Every example in README.md and docs/ is accepted by the code that it shows."""

import ast
import json
import re
from typing import Any

import pytest
import typer
import yaml

from services.benchmarks.factorial import read_experiment
from services.cli.app import make_app
from shared.contracts.spec import parse_spec
from tests.unit.docs.examples import EXPERIMENT, PAGES, ROOT, TESTED, Block, find_blocks, find_calls, find_commands

SPECS = find_blocks("yaml")
COMMANDS = list(find_commands())
CALLS = list(find_calls())
# The pages that describe a task each; README shows one of everything.
TASKS = ("jobs", "data", "training", "evaluation", "serving", "operations", "console")


def parse_command(words: list[str]) -> None:
    """Parses a command line as `sense` does and runs nothing. Raises click's usage errors."""
    command: Any = typer.main.get_command(make_app())
    context = command.make_context("sense", list(words))
    rest = [*context._protected_args, *context.args]
    while rest:
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args] if hasattr(command, "resolve_command") else []


def with_ids(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec as `sense submit` sends it: files of databases are uploaded and named by id."""
    databases = spec.get("databases", [])
    return spec | {"databases": [{"id": "0" * 64} for _ in databases]} if databases else spec


@pytest.mark.parametrize("block", SPECS, ids=lambda block: block.title)
def test_every_spec_is_accepted(block: Block) -> None:
    data = yaml.safe_load(block.text)
    if block.text.startswith(EXPERIMENT):
        read_experiment(data)
    else:
        parse_spec(with_ids(data))


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_every_command_line_is_parsed(page: str, words: list[str]) -> None:
    parse_command(words)


def test_a_wrong_command_line_is_refused() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse_command(["submit", "job.yaml", "--wach"])


@pytest.mark.parametrize(("page", "method", "path"), CALLS)
def test_every_rest_path_exists(page: str, method: str, path: str) -> None:
    paths = json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"]
    known = {re.sub(r"{\w+}", "{}", name): methods for name, methods in paths.items()}
    assert method in known.get(re.sub(r"{\w+}", "{}", path), {}), f"{page} names {method.upper()} {path}"


@pytest.mark.parametrize("block", find_blocks("python"), ids=lambda block: block.title)
def test_every_python_example_compiles(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", find_blocks("json"), ids=lambda block: block.title)
def test_every_json_example_is_json(block: Block) -> None:
    for line in block.text.strip().splitlines():
        json.loads(line)


def test_examples_are_found() -> None:
    assert len(SPECS) > 10 and len(COMMANDS) > 20 and len(CALLS) > 20


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_page_with_an_example(task: str) -> None:
    page = f"docs/{task}.md"
    assert page in {found for found, _ in COMMANDS}


def test_no_command_stands_outside_a_console_block() -> None:
    indented = re.compile(r"^ {4}(?:\$ )?(?:\.venv/bin/)?sense \w.*$", re.MULTILINE)
    found = {page.name: indented.findall(page.read_text(encoding="utf-8")) for page in PAGES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 1000


def test_the_end_to_end_examples_are_marked() -> None:
    names = [match[1] for block in SPECS if (match := TESTED.search(block.text))]
    assert sorted(names) == ["data", "evaluation", "jobs"]
