"""Which of all built pairs make the set: rules over the whole, each counted by its name. Pure, in shard order."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from shared.contracts.records import Example, Outcome, Pair

# What SQLite could not parse. Answers without any SQL are no side of a pair, so that none is counted here.
UNPARSED = frozenset({Outcome.SYNTAX_ERROR, Outcome.MULTI_STATEMENT})
TooLong = Callable[[Example, Pair], bool]


@dataclass(frozen=True)
class Rules:
    """`syntax_share`: the most of the rejected sides that SQLite may fail to parse, 0 to 1; drawn by `seed`."""

    seed: int = 0
    limit: int | None = None
    syntax_share: float = 0.25


@dataclass
class Selected:
    """What was kept, in shard order, and how many were refused why."""

    pairs: list[Pair] = field(default_factory=list)
    outside: int = 0
    duplicates: int = 0
    too_long: int = 0
    syntax_capped: int = 0
    over_limit: int = 0


def select(pairs: Iterable[Pair], examples: Mapping[str, Example], too_long: TooLong, rules: Rules) -> Selected:
    """Pairs of the dataset's examples, without repeats, that the trainer can take whole, syntax errors capped."""
    found = Selected()
    seen: set[tuple[str, str, str]] = set()
    for pair in pairs:
        key = (pair.example_id, pair.chosen, pair.rejected)
        example = examples.get(pair.example_id)
        if example is None:
            found.outside += 1
        elif key in seen:
            found.duplicates += 1
        elif too_long(example, pair):
            found.too_long += 1
        else:
            seen.add(key)
            found.pairs.append(pair)
    cap_and_limit(found, rules)
    return found


def cap_and_limit(found: Selected, rules: Rules) -> None:
    """The cap, the limit, and the cap once more: the first pairs may hold more than their share of syntax errors."""
    whole = len(found.pairs)
    found.pairs = capped(found.pairs, rules)
    found.syntax_capped = whole - len(found.pairs)
    if rules.limit is not None and len(found.pairs) > rules.limit:
        found.over_limit = len(found.pairs) - rules.limit
        cut = found.pairs[: rules.limit]
        found.pairs = capped(cut, rules)
        found.syntax_capped += len(cut) - len(found.pairs)


def capped(pairs: list[Pair], rules: Rules) -> list[Pair]:
    """The pairs with at most the share of unparsed rejected sides; which ones stay is drawn by seed."""
    unparsed = [pair for pair in pairs if pair.rejected_outcome in UNPARSED]
    most = most_unparsed(len(pairs) - len(unparsed), rules.syntax_share)
    if most is None or len(unparsed) <= most:
        return pairs
    kept = {id(pair) for pair in sorted(unparsed, key=lambda pair: draw(rules.seed, pair))[:most]}
    return [pair for pair in pairs if pair.rejected_outcome not in UNPARSED or id(pair) in kept]


def most_unparsed(others: int, share: float) -> int | None:
    """How many may stand beside `others` so that they are at most `share` of all; None: any number."""
    return None if share >= 1 else int(others * share / (1 - share) + 1e-9)


def draw(seed: int, pair: Pair) -> str:
    """A stable order that depends on the seed and the pair alone."""
    text = "\x1f".join((str(seed), pair.example_id, pair.chosen, pair.rejected))
    return hashlib.sha256(text.encode()).hexdigest()
