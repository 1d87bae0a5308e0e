"""Question templates: enough of them, and none of the test split's in training."""

import pytest

from services.synthesis.writers.grammar.domain import listing, plural, sentence, third_person, with_article
from services.synthesis.writers.grammar.writer import load_templates

FORMS = sorted(load_templates())


@pytest.mark.parametrize("form", FORMS)
def test_enough_phrases(form):
    phrases = load_templates()[form]
    assert len(set(phrases["train"])) >= 4
    assert len(set(phrases["test"])) >= 2


def test_no_test_phrase_stands_in_training():
    train = {phrase for phrases in load_templates().values() for phrase in phrases["train"]}
    test = {phrase for phrases in load_templates().values() for phrase in phrases["test"]}
    assert not train & test


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("city", "cities"),
        ("day", "days"),
        ("bus", "buses"),
        ("branch", "branches"),
        ("age in months", "ages in months"),
        ("title", "titles"),
        ("price per night", "prices per night"),
        ("number of beds", "numbers of beds"),
    ],
)
def test_plural(one, many):
    assert plural(one) == many


@pytest.mark.parametrize(
    ("noun", "phrase"), [("age", "an age"), ("unit", "a unit"), ("hourly fee", "an hourly fee"), ("price", "a price")]
)
def test_article(noun, phrase):
    assert with_article(noun) == phrase


@pytest.mark.parametrize(
    ("verb", "inflected"),
    [("have", "has"), ("carry out", "carries out"), ("coach", "coaches"), ("employ", "employs"), ("do", "does")],
)
def test_third_person(verb, inflected):
    assert third_person(verb) == inflected


def test_listing_and_sentence():
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a", "b"], "or") == "a or b"
    assert sentence("what  is\nthis?") == "What is this?"
