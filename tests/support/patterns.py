"""Every regular expression of the product, found in its source."""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared.api.resources import KEY_NAME

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "shared", "infra")
SEARCH = frozenset({"search"})
CALLS = frozenset({"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"})
# Parameters that are patterns: module and name, and what is given for them.
PARAMETERS = {("services.cli.key_commands", "KEY_NAME"): KEY_NAME}

# Patterns that are made of values known only when they run: module, and what such values look like.
VALUES: dict[str, dict[str, Any]] = {
    "shared.sql.extraction": {
        "sign": "`",
        "least": 3,
        "run": "```",
        "wanted": "</sql>",
        "one": SimpleNamespace(indent="    "),
    },
    "shared.models.tokenization": {"words": [r"<\|im_end\|>", "</s>", "<tool_call>", "(?i:<pad>)"], "first": "(?s:.)"},
    "shared.storage.keys": {"job": "0123456789ab"},
}


@dataclass(frozen=True)
class Found:
    """One pattern, and the methods that run it as far as they can be seen, else `search`."""

    where: str
    pattern: str
    flags: int
    how: frozenset[str] = SEARCH

    def __str__(self) -> str:
        return self.where


def all_patterns() -> list[Found]:
    """Raises AssertionError for one that cannot be evaluated."""
    found: dict[tuple[str, int], Found] = {}  # by what it does: a compiled one stands under its name, not its line
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for one in patterns_of(path):
                found.setdefault((one.pattern, one.flags & ~re.UNICODE), one)
    return list(found.values())


def patterns_of(path: Path) -> Iterator[Found]:
    """Patterns of one file: arguments of `re`'s functions, and compiled ones in whatever its names hold."""
    text = path.read_text(encoding="utf-8")
    if "re." not in text:
        return
    tree = ast.parse(text)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_call(node)]
    if not calls:
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    names = {**vars(importlib.import_module(name)), **VALUES.get(name, {})}
    for key, value in list(names.items()):
        for held in held_patterns(value):
            yield Found(f"{name}:{key}", held.pattern, held.flags, methods_of(name, key))
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        where = f"{name}:{call.lineno}"
        for pattern in evaluated(call.args[0], names, tree, where):
            how = "search" if call.func.attr == "compile" else call.func.attr
            yield Found(where, pattern, flags_of(call, names), frozenset({how}))


@cache
def sources() -> dict[str, str]:
    """All code, by module."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text("utf-8") for path in paths}


def methods_of(module: str, name: str) -> frozenset[str]:
    """The methods that are called on a compiled pattern's name, in its module and in those that import it."""
    asked = re.compile(rf"\b{re.escape(name)}\.({'|'.join(CALLS - {'compile'})})\b")
    imports = re.compile(rf"from {re.escape(module)} import [^\n]*\b{re.escape(name)}\b")
    using = [text for one, text in sources().items() if one == module or imports.search(text)]
    return frozenset(method for text in using for method in asked.findall(text)) or SEARCH


def is_call(node: ast.AST) -> bool:
    """Whether a node is a call such as `re.search(…)`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return False
    return isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.func.attr in CALLS


def evaluated(node: ast.expr, names: dict[str, Any], tree: ast.AST, where: str) -> list[str]:
    """The patterns of an argument; a loop's variable stands for each of what the loop goes over."""
    if isinstance(node, ast.IfExp):
        return [one for part in (node.body, node.orelse) for one in evaluated(part, names, tree, where)]
    try:
        return [compiled_text(eval(compile(ast.Expression(node), where, "eval"), names))]
    except NameError:
        assert isinstance(node, ast.Name), f"{where}: write the pattern so that its module's names say what it is"
    for loop in ast.walk(tree):
        if isinstance(loop, ast.ImportFrom) and node.id in [one.name for one in loop.names]:
            return [compiled_text(getattr(importlib.import_module(str(loop.module)), node.id))]
        if not isinstance(loop, ast.GeneratorExp | ast.ListComp | ast.For) or node not in ast.walk(loop):
            continue
        for one in [loop] if isinstance(loop, ast.For) else loop.generators:
            many = isinstance(one.target, ast.Tuple)
            parts = one.target.elts if isinstance(one.target, ast.Tuple) else [one.target]
            targets = [ast.unparse(part) for part in parts]
            if node.id in targets:
                rows = eval(compile(ast.Expression(one.iter), where, "eval"), names)
                return [row[targets.index(node.id)] if many else row for row in rows]
    if (known := PARAMETERS.get((where.split(":", maxsplit=1)[0], node.id))) is not None:
        return [known]
    raise AssertionError(f"{where}: the pattern {node.id} cannot be evaluated; give it a module's name")


def compiled_text(value: Any) -> str:
    """The text of a pattern, compiled or not, of characters or bytes."""
    text = value.pattern if isinstance(value, re.Pattern) else value
    return text.decode("latin-1") if isinstance(text, bytes) else text


def flags_of(call: ast.Call, names: dict[str, Any]) -> int:
    """The flags that a call gives."""
    at = {"compile": 1, "match": 2, "fullmatch": 2, "search": 2, "findall": 2, "finditer": 2, "sub": 4, "split": 3}
    assert isinstance(call.func, ast.Attribute)
    place = at.get(call.func.attr, 9)
    given = [keyword.value for keyword in call.keywords if keyword.arg == "flags"] or call.args[place : place + 1]
    return int(eval(compile(ast.Expression(given[0]), "flags", "eval"), names)) if given else 0


def held_patterns(value: Any, depth: int = 3) -> Iterator["re.Pattern[str]"]:
    """Compiled patterns in a value and in what it holds."""
    if isinstance(value, re.Pattern):
        if isinstance(value.pattern, str):
            yield value
    elif depth and isinstance(value, dict):
        for one in list(value.values()):
            yield from held_patterns(one, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from held_patterns(one, depth - 1)
