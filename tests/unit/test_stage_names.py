"""Only the planner knows the names of stages: every other service reads them from its command."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROUPS = "answer build choose collect deploy judge load pair profile release review sample sft verify write"
# An id with a suffix, or the head of one in an f-string. A bare word such as "pair" may mean something else, so it
# counts only where a stage is looked up by it.
STAGE_ID = re.compile(rf"({GROUPS.replace(' ', '|')})\.([a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*)?")
NOT_STAGES = re.compile(r".*\.(json|jsonl|md|html|j2|txt|log|py|sqlite)")
BARE = {*GROUPS.split(), "control", "dpo", "report", "sweep", "undeploy"}


def files() -> list[Path]:
    """Every Python file of the product but the orchestrator's."""
    found = [*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]
    return [path for path in found if (ROOT / "services/orchestrator") not in path.parents]


def text_of(node: ast.expr | None) -> str | None:
    """A string literal's text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def looked_up(node: ast.AST) -> Iterator[str | None]:
    """Literals that are used as a stage: a key of states, an argument that names a stage, what an id is compared to."""
    match node:
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=key) if name.endswith("states"):
            yield text_of(key)
        case ast.Call(func=ast.Attribute(attr="stage"), args=[first, *_]):
            yield text_of(first)
        case ast.Call(keywords=keywords):
            yield from (text_of(word.value) for word in keywords if word.arg in ("stage", "stage_id"))
        case ast.Compare(left=ast.Attribute(value=ast.Name(id="stage"), attr="id"), comparators=others):
            yield from map(text_of, others)


def stage_names(source: str) -> list[str]:
    """Literals of a module that are ids of stages."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            head = text_of(node.values[0]) if node.values else None
            if head and STAGE_ID.fullmatch(head) and not NOT_STAGES.fullmatch(head):
                found.append(head)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            matched = STAGE_ID.fullmatch(node.value)
            if matched and matched[2] and not NOT_STAGES.fullmatch(node.value):
                found.append(node.value)
        found += [text for text in looked_up(node) if text in BARE]
    return found


def test_no_stage_is_named_outside_the_orchestrator() -> None:
    found = {str(path.relative_to(ROOT)): names for path in files() if (names := stage_names(path.read_text()))}
    assert found == {}, "let the planner put a reference into the command"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('WRITE = "write.errors"', ["write.errors"]),
        ('name = f"verify.{source}"', ["verify."]),
        ('self.states["sample"].counts', ["sample"]),
        ('plan.stage("sample").params', ["sample"]),
        ('StageRef(stage="dpo")', ["dpo"]),
        ('sorted(stages, key=lambda stage: stage.id != "report")', ["report"]),
        ('method = "dpo"', []),
        ('open("report.html")', []),
        ('answer = parts["answer"]', []),
    ],
)
def test_the_check_sees_a_stage_name(source: str, names: list[str]) -> None:
    assert stage_names(source) == names
