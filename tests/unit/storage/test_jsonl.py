"""Rows as JSON lines in a store."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.base import ObjectRef
from shared.contracts.records import Message, Outcome, ResultView
from shared.errors import InvalidInputError, NotFoundError
from shared.storage.directory import DirectoryStore
from shared.storage.records import CorruptObjectError, dump_records, read_records


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def test_the_form_of_a_line() -> None:
    row = ResultView(outcome=Outcome.OK, columns=["é"], rows=[["日", 1, 1.5, None]], row_count=1)
    expected = (
        '{"outcome":"ok","columns":["é"],"rows":[["日",1,1.5,null]],"row_count":1,"truncated":false,"message":null}\n'
    )
    assert dump_records([row]) == expected.encode()
    assert dump_records([]) == b""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5))
def test_any_text_comes_back(texts: list[str]) -> None:
    rows = [Message(role="user", content=text) for text in texts]
    data = dump_records(rows)
    assert data == dump_records(rows)
    assert data.count(b"\n") == len(rows)
    assert [Message.model_validate_json(line) for line in data.split(b"\n")[:-1]] == rows


def test_reads_lines_across_chunks(store: DirectoryStore) -> None:
    rows = [Message(role="user", content=f"{number} \u2028 ä" * 40_000) for number in range(7)]
    ref = store.put("rows", dump_records(rows))
    assert ref.size > 2 << 20
    assert list(read_records(store, ref, Message)) == rows
    assert list(read_records(store, "rows", Message)) == rows


def test_streams(store: DirectoryStore) -> None:
    ref = store.put("rows", dump_records([Message(role="user", content="first")]) + b"no row\n")
    rows = read_records(store, ref, Message)
    assert next(rows).content == "first"
    with pytest.raises(CorruptObjectError, match="rows, line 2"):
        next(rows)


def test_an_error_names_line_and_field(store: DirectoryStore) -> None:
    store.put("rows", b'{"role":"user","content":"a"}\n{"role":"user","content":"a","more":1}\n')
    with pytest.raises(CorruptObjectError, match=r"rows, line 2 is not a Message row \(more: "):
        list(read_records(store, "rows", Message))


@pytest.mark.parametrize("damage", [b"", b'{"role":"user","content":"b"}\n', b'{"role":"user","content":"a"}'])
def test_changed_bytes_are_found(store: DirectoryStore, damage: bytes) -> None:
    ref = store.put("rows", dump_records([Message(role="user", content="a")]))
    store.put("rows", damage)
    with pytest.raises(CorruptObjectError, match="SHA-256"):
        list(read_records(store, ref, Message))


def test_absent(store: DirectoryStore) -> None:
    ref = ObjectRef(key="absent", sha256=hashlib.sha256().hexdigest(), size=0)
    with pytest.raises(NotFoundError):
        list(read_records(store, ref, Message))


def test_text_that_is_no_unicode(store: DirectoryStore) -> None:
    good = Message(role="user", content="a")
    with pytest.raises(InvalidInputError, match="row 2"):
        dump_records([good, Message.model_construct(role="user", content="\ud800")])
