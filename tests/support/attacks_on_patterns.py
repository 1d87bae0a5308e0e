"""Texts made from a regular expression's own parts, on which it would have to go back and forth if it can."""

import re
from collections.abc import Iterator
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as codes
from re import _parser as parser
from typing import Any

REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
SAMPLES = " \na0_A'\"`([,.*-/;:<"
ENDS = ("", "\x00", "\n!")
MOST_PARTS = 40


def attacks(pattern: str, flags: int, size: int) -> Iterator[str]:
    """Texts of about `size` characters: a way into each repetition, what it repeats, and an end that fits nothing."""
    tree = parser.parse(pattern, flags)
    ways = cut(["", *prefixes(tree)])
    bodies = cut([*repeated(tree), *(one for one in SAMPLES if chosen(tree, one)), example(tree)])
    for way in ways:
        for body in bodies:
            count = max(1, size // len(body))
            for end in ENDS:
                yield way + body * count + end
            if way:
                yield (way + body) * max(1, size // len(way + body)) + "\x00"


def cut(found: list[str]) -> list[str]:
    """Different ones, not too many and not too long."""
    return [one for one in dict.fromkeys(found) if len(one) < 60 and (one or not found[0])][:MOST_PARTS]


def example(tree: Any, count: int = 1, like: str = "") -> str:
    """A text that fits; optional parts are there `count` times."""
    text = ""
    for code, given in tree:
        text += example_of(code, given, count, like)
    return text


def example_of(code: Any, given: Any, count: int, like: str) -> str:
    if code is codes.LITERAL:
        return chr(given)
    if code in (codes.IN, codes.NOT_LITERAL, codes.ANY):
        return one_of(code, given, like)
    if code is codes.BRANCH:
        return example(given[1][0], count, like)
    if code is codes.SUBPATTERN:
        return example(given[3], count, like)
    if code is codes.ATOMIC_GROUP:
        return example(given, count, like)
    if code in REPEATS:
        low, high, inside = given
        return example(inside, count, like) * min(int(high), max(int(low), count))
    return ""  # places and looks around


def one_of(code: Any, given: Any, like: str) -> str:
    """A character of a class: the wanted one where it belongs to it."""
    one: str
    for one in [*like, *"a0 _-x.,'\"(\n*#•١", *map(chr, range(33, 1000))]:
        if holds(code, given, one):
            return one
    return "a"


def holds(code: Any, given: Any, one: str) -> bool:
    """Whether a class holds a character; asked of `re` itself."""
    name = repr((code, given))
    if name not in _classes:
        state = parser.State()
        state.str = ""
        _classes[name] = compiler.compile(parser.SubPattern(state, [(code, given)]), 0)
    return _classes[name].fullmatch(one) is not None


_classes: dict[str, "re.Pattern[str]"] = {}


def chosen(tree: Any, one: str) -> bool:
    """Whether some class of the expression holds the character."""
    return any(holds(code, given, one) for code, given in classes(tree))


def classes(tree: Any) -> Iterator[tuple[Any, Any]]:
    for code, given in tree:
        if code in (codes.IN, codes.NOT_LITERAL, codes.ANY):
            yield code, given
        for inside in insides(code, given):
            yield from classes(inside)


def insides(code: Any, given: Any) -> list[Any]:
    """The expressions in a part."""
    if code is codes.BRANCH:
        return list(given[1])
    if code is codes.SUBPATTERN:
        return [given[3]]
    if code is codes.ATOMIC_GROUP:
        return [given]
    if code in REPEATS:
        return [given[2]]
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [given[1]]
    return []


def repeated(tree: Any) -> Iterator[str]:
    """Examples of what is repeated without a small bound."""
    for code, given in tree:
        if code in REPEATS and int(given[1]) > 3:
            for like in ("", " ", "a", "0", "*", "'"):
                yield example(given[2], 1, like) or "a"
        for inside in insides(code, given):
            yield from repeated(inside)


def prefixes(tree: Any, before: str = "") -> Iterator[str]:
    """Examples of what stands before each part, with optional parts and without."""
    for count in (0, 1):
        text = before
        for code, given in tree:
            yield text
            for inside in insides(code, given):
                if code not in (codes.ASSERT, codes.ASSERT_NOT):
                    yield from prefixes(inside, text) if count else ()
            text += example_of(code, given, count, "")
        yield text
