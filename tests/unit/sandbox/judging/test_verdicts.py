"""What several policies say together."""

import pytest

from services.sandbox.judging.verdicts import combine_verdicts
from shared.contracts.records import Verdict

GOOD, BAD, ERROR, LATE = Verdict.CORRECT, Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([GOOD], GOOD),
        ([Verdict.DISPUTED], Verdict.DISPUTED),
        ([GOOD, GOOD], GOOD),
        ([BAD, BAD], BAD),
        ([ERROR, BAD], ERROR),
        ([BAD, ERROR], BAD),
        ([LATE, LATE, BAD], LATE),
        ([GOOD, BAD], Verdict.DISPUTED),
        ([BAD, GOOD], Verdict.DISPUTED),
        ([LATE, GOOD], Verdict.DISPUTED),
        ([Verdict.DISPUTED, GOOD], Verdict.DISPUTED),
        ([Verdict.DISPUTED, BAD], Verdict.DISPUTED),
        ([GOOD, Verdict.GOLD_FAILED], Verdict.GOLD_FAILED),
        ([Verdict.GOLD_TIMEOUT, BAD], Verdict.GOLD_TIMEOUT),
        ([Verdict.BOTH_EMPTY, BAD], Verdict.BOTH_EMPTY),
        ([Verdict.UNEXTRACTABLE, Verdict.UNEXTRACTABLE], Verdict.UNEXTRACTABLE),
    ],
)
def test_only_what_all_say_is_right_or_wrong(verdicts: list[Verdict], together: Verdict) -> None:
    assert combine_verdicts(verdicts) is together


def test_nothing_gives_no_verdict() -> None:
    with pytest.raises(ValueError, match="at least one"):
        combine_verdicts([])
