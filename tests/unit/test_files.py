"""Only a line feed ends a line of JSON, in every place that reads one."""

import ast
import json
from pathlib import Path

import pytest

from services.training.checkpoints import metric_lines_up_to
from services.training.config import TrainConfig
from services.training.run.data import read_rows
from shared.api.resources import JobEvent
from shared.client.client import read_events
from shared.contracts.records import Message, SftRecord
from shared.files import iter_lines, parse_json_lines, split_lines
from shared.sql.prompt import SHORTENINGS, shorten_text
from shared.storage.records import dump_records

ENDS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"  # str.splitlines ends a line at each of them
ROOT = Path(__file__).parents[2]
# These read what the system, SQLite or another program prints for people, a line of which is no record of ours.
FOR_PEOPLE = {
    "services/cli/doctor.py",
    "services/cli/stack/manager.py",
    "services/serving/sql/answering.py",
    "services/serving/vllm/server.py",
    "services/training/merge.py",
    "services/training/run/devices.py",
    "services/training/supervisor.py",
    "shared/models/builtin.py",
    "shared/processes/cpu.py",
}


def test_lines() -> None:
    assert split_lines(f"\ufeffa{ENDS}\r\nb\r\n\nc") == [f"a{ENDS}", "b", "", "c"]
    assert (split_lines(""), split_lines("\n"), split_lines("a\n")) == ([], [""], ["a"])
    rows = [{"text": ENDS}, {"text": "\r\n"}]
    assert parse_json_lines("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()) == rows


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_that_arrive_in_parts(size: int) -> None:
    data = f"data: a{ENDS}ä\r\n\r\ndata: b".encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(iter_lines(parts)) == [f"data: a{ENDS}ä", "", "data: b"]


def test_events_with_such_characters_arrive_whole() -> None:
    said = {"message": f"bad{ENDS}cell"}
    event = JobEvent(id="1-0", type="fact", name="shard.failed", job_id="j", created_at=1.0, data=said)
    (found,) = read_events(iter_lines([f"data: {event.model_dump_json()}\n\n".encode()]))
    assert found == event


def test_training_reads_rows_whole(tmp_path: Path) -> None:
    turn = Message(role="user", content=f"first rows: A talk{ENDS}by an author")
    answer = Message(role="assistant", content="SELECT 1")
    about = {"example_id": "e", "database_id": "d", "domain": "talks", "level": "easy", "writer": "grammar"}
    row = SftRecord.model_validate({**about, "prompt": [turn], "completion": [answer]})
    path = tmp_path / "data.jsonl"
    path.write_bytes(dump_records([row] * 3))
    config = TrainConfig.model_construct(method="sft", data=path)
    assert [prompt for prompt, _ in read_rows(config)] == [[turn]] * 3


def test_curves_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "note": ENDS}, ensure_ascii=False) + "\n" for step in (1, 2)]
    path.write_text("".join(lines) + '{"step": 3', encoding="utf-8")
    assert metric_lines_up_to(path, 5) == lines


def test_shortened_prompts_keep_their_rows_apart() -> None:
    text = f"CREATE TABLE t(a);\n/* first rows:\na\nx{ENDS}y\nz\nw\n*/\nQuestion: ?"
    assert shorten_text(text, SHORTENINGS[0]).count("\n") == text.count("\n")
    assert "\nz\n" in shorten_text(text, SHORTENINGS[0])


def test_nobody_else_splits_lines_elsewhere() -> None:
    """`splitlines` on data is the fault that cost a job its training after all synthesis was paid."""
    found = set()
    for path in [*ROOT.glob("services/**/*.py"), *ROOT.glob("shared/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("splitlines", "iter_lines", "aiter_lines"):
                found.add(str(path.relative_to(ROOT)))
    assert found <= FOR_PEOPLE
