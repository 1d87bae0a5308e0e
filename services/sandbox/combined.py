"""One verdict of several policies' verdicts on the same candidate. Pure.

A pair teaches what its two sides differ in, so that both sides have to be beyond dispute: right under every policy that
is asked, or wrong under every one. Rules of comparison differ (duplicates, order of columns, empty cells): an answer
that one of them accepts and another refuses is `disputed`.
"""

from collections.abc import Iterable

from shared.contracts.records import Verdict

FAILED = frozenset({Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT})
# What says something of the question rather than of the answer comes first: the gold cannot be trusted under a policy.
BEFORE_OTHERS = (Verdict.UNEXTRACTABLE, Verdict.GOLD_FAILED, Verdict.GOLD_TIMEOUT, Verdict.BOTH_EMPTY)


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of all, the main policy's first.

    One verdict stands for itself. Refusals of different kinds (an error here, a wrong result there) give the main
    policy's. Raises ValueError for no verdict at all.
    """
    found = list(verdicts)
    if not found:
        raise ValueError("a combined verdict needs at least one verdict")
    for verdict in BEFORE_OTHERS:
        if verdict in found:
            return verdict
    if len(set(found)) == 1 or all(verdict in FAILED for verdict in found):
        return found[0]
    return Verdict.DISPUTED
