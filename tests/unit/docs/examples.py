"""The examples of README.md and docs/: fenced blocks, command lines, and REST paths, as a reader would copy them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SENSE = re.compile(r"^\$ (?:\w+=\S+ )*(?:\.venv/bin/)?sense (.*)$")
CALL = re.compile(r"`(GET|POST|PATCH|DELETE) (/v1/[^`?]*)`")
TESTED = re.compile(r"^# tested: (\w+)$", re.MULTILINE)
EXPERIMENT = "# an experiment, not a spec"


class Block(NamedTuple):
    """One fenced block: where it stands, its language, its text."""

    page: str
    language: str
    text: str

    @property
    def title(self) -> str:
        """For test ids."""
        return f"{self.page}: {self.text.strip().splitlines()[0][:60]}"


def find_blocks(*languages: str) -> list[Block]:
    """The fenced blocks in these languages, in reading order."""
    return [
        Block(str(page.relative_to(ROOT)), language, text)
        for page in PAGES
        for language, text in FENCE.findall(page.read_text(encoding="utf-8"))
        if language in languages
    ]


def find_commands() -> Iterator[tuple[str, list[str]]]:
    """Page and arguments of each `sense` command line."""
    for block in find_blocks("console"):
        for line in block.text.splitlines():
            if match := SENSE.match(line):
                yield block.page, shlex.split(match[1], comments=True)


def find_calls() -> Iterator[tuple[str, str, str]]:
    """Page, method and path of each REST call in backticks."""
    for page in PAGES:
        for method, path in CALL.findall(page.read_text(encoding="utf-8")):
            yield str(page.relative_to(ROOT)), method.lower(), path


def read_example_spec(name: str) -> dict[str, Any]:
    """The spec that a page marks with `# tested: NAME`. Raises `KeyError` where no page has it."""
    for block in find_blocks("yaml"):
        if (match := TESTED.search(block.text)) and match[1] == name:
            spec: dict[str, Any] = yaml.safe_load(block.text)
            return spec
    raise KeyError(f"no page has a block `# tested: {name}`")
