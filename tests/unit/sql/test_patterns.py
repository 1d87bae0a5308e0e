"""No regular expression of the product takes longer than its text allows, whatever the text is."""

import re
import time
import warnings
from collections.abc import Callable

import pytest
from regexploit.ast.sre import SreOpParser
from regexploit.redos import find

from tests.support.attacks_on_patterns import attacks
from tests.support.deadline import StillRunningError, within
from tests.support.patterns import Found, all_patterns

warnings.simplefilter("ignore", FutureWarning)
DEADLINE_S = 60.0
SMALL, LARGE, WHOLE = 10_000, 40_000, 100_000
# Four times the text: 4 times the time where it is linear, 16 times where it is quadratic.
MOST_TIMES = 9.0
# Below this a text of 40,000 characters is harmless, and its time too short to compare.
HARMLESS_S = 0.02
SUSPECTS = 5


def runner(found: Found) -> Callable[[str], object]:
    """What the product does with the pattern, at its worst."""
    compiled = re.compile(found.pattern, found.flags)
    if found.how <= {"fullmatch"}:
        return compiled.fullmatch
    if found.how <= {"fullmatch", "match"}:
        return compiled.match
    return lambda text: sum(1 for _ in compiled.finditer(text))


def seconds(run: Callable[[str], object], text: str, times: int = 1) -> float:
    """Processor time, the best of some."""
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        run(text)
        best = min(best, time.process_time() - begin)
    return best


def worst_growth(found: Found) -> tuple[float, float, str]:
    """How the time grows from 10,000 to 40,000 characters, the time for 100,000, and the beginning of the text."""
    run = runner(found)
    for text in attacks(found.pattern, found.flags, 30):
        run(text)  # what doubles with every character never comes back from this
    timed = [(seconds(run, text, 2), at) for at, text in enumerate(attacks(found.pattern, found.flags, 600))]
    chosen = {at for _, at in sorted(timed, reverse=True)[:SUSPECTS]}
    worst = (0.0, 0.0, "")
    makers = zip(attacks(found.pattern, found.flags, SMALL), attacks(found.pattern, found.flags, LARGE), strict=True)
    for at, (small, large) in enumerate(makers):
        if at in chosen and (slow := seconds(run, large, 2)) > HARMLESS_S:
            growth = slow / max(seconds(run, small, 3), 1e-6)
            worst = max(worst, (growth, slow * WHOLE / LARGE, large[:60]))
    return worst


@pytest.mark.parametrize("found", all_patterns(), ids=str)
def test_its_time_grows_with_the_text_and_not_with_its_square(found: Found) -> None:
    growth, slow, text = within(DEADLINE_S, worst_growth, found)
    assert growth < MOST_TIMES, f"{found.pattern!r} on {text!r}…: {growth:.1f} times as long for four times the text"
    assert slow < DEADLINE_S, f"{found.pattern!r} on {text!r}…: {slow:.1f} s for 100 KB"


# Ends at any text's end, so that nothing is ever tried again.
HARMLESS_FORMS = {r"```[ \t]*(?:sql|sqlite)?[ \t]*\n?(.*?)(?:```|\Z)"}


def test_no_pattern_has_a_form_that_is_known_to_blow_up() -> None:
    """By its form alone. What has possessive parts the tool cannot read; the times above stand for those."""
    found = {one.where: one.pattern for one in all_patterns() if one.pattern not in HARMLESS_FORMS and blows_up(one)}
    assert found == {}


def blows_up(found: Found) -> bool:
    """What the tool says; it has no word for possessive repeats."""
    if re.search(r"[*+?}]\+|\(\?>", found.pattern):
        return False
    return any(True for _ in find(SreOpParser().parse_sre(found.pattern, found.flags)))


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"\s+COMMENT", r"^(?:[*_]+[ \t]*)*x", r"/\*.*?\*/", r"\d+(\.\d*)*$"])
def test_the_check_itself_finds_what_it_looks_for(pattern: str) -> None:
    try:
        growth, _, _ = within(5.0, worst_growth, Found("here", pattern, 0))
    except StillRunningError:
        return
    assert growth > MOST_TIMES
