"""Shapes of SQL: what is masked, and what two writings of one query share."""

import pytest

from shared.sql.tokens import sql_shape


def test_names_and_literals_are_masked_step_by_step() -> None:
    found = sql_shape(
        "SELECT T1.Name, COUNT(*) FROM Stadium AS T1 JOIN concert c ON T1.id = c.sid WHERE T1.x >= 2.5 LIMIT 3;"
    )
    assert found.named == "select name , count ( * ) from stadium join concert on id = sid where x >= ? limit ?"
    assert found.slots == "select _1 , count ( * ) from _2 join _3 on _4 = _5 where _6 >= ? limit ?"
    assert found.skeleton == "select _ , count ( * ) from _ join _ on _ = _ where _ >= ? limit ?"


@pytest.mark.parametrize(
    "other",
    [
        "select name from singer where age <> 3",
        "SELECT s.name FROM singer s WHERE s.age!=41",
        "SELECT s.name -- who\nFROM singer AS s WHERE s.age != '41' ;",
        'SELECT NAME FROM `singer` WHERE [age] <> "x"',
    ],
)
def test_writings_of_one_query_have_one_shape(other: str) -> None:
    assert sql_shape(other) == sql_shape("SELECT name FROM singer WHERE age != 1")


@pytest.mark.parametrize("text", ["", ";", "'", "select 'a", "as as as", "( ) . .", "SELECT \x00 é 漢"])
def test_any_text_has_a_shape(text: str) -> None:
    assert isinstance(sql_shape(text).skeleton, str)


def test_another_column_is_another_named_form_of_one_skeleton() -> None:
    one, other = sql_shape("SELECT name FROM singer"), sql_shape("SELECT age FROM singer")
    assert one.skeleton == other.skeleton and one.slots == other.slots and one.named != other.named
