"""Rows on disk behave as the list that they stand for."""

import pytest

from shared.contracts.records import Message
from shared.errors import InvalidInputError
from shared.storage.records import Spool

ROWS = [Message(role="user", content=text) for text in ("a", "", "é\n", "d" * 9000, "e")]


def test_a_spool_is_a_sequence() -> None:
    spool = Spool(Message, ROWS)
    assert spool == ROWS and list(spool) == ROWS and len(spool) == 5
    assert spool[2] == ROWS[2] and spool[-1] == ROWS[-1] and spool[1:3] == ROWS[1:3]
    assert spool != ROWS[:4] and spool != "text"
    with pytest.raises(IndexError):
        spool[5]


def test_views_share_the_file_in_another_order_and_rows_may_be_added_while_it_is_read() -> None:
    spool = Spool(Message, ROWS)
    view = spool.arranged([4, 0, 0])
    reader = iter(spool)
    assert next(reader) == ROWS[0]
    spool.append(ROWS[1])
    assert view == [ROWS[4], ROWS[0], ROWS[0]] and next(reader) == ROWS[1]
    del spool
    assert view[0] == ROWS[4] and view[:2].arranged([1]) == [ROWS[0]]


def test_text_that_is_no_unicode_is_refused_and_nothing_is_lost() -> None:
    spool = Spool(Message, ROWS[:1])
    with pytest.raises(InvalidInputError):
        spool.append(Message(role="user", content="\ud800"))
    spool.append(ROWS[1])
    assert spool == ROWS[:2]
