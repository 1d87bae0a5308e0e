"""Shares as whole numbers, evenly mixed all along, so that any beginning of a list is in proportion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from shared.contracts.records import Level

LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")
Name = TypeVar("Name", bound=str)


def share_out(shares: Mapping[Name, float], names: tuple[Name, ...], count: int) -> list[Name]:
    """`count` names in the wanted shares, by largest remainder; of equals the first."""
    total = sum(shares.values())
    given = dict.fromkeys(names, 0)
    result: list[Name] = []
    for place in range(1, count + 1):
        behind = {name: shares.get(name, 0.0) / total * place - given[name] for name in names if shares.get(name)}
        name = max(behind, key=lambda key: behind[key])
        given[name] += 1
        result.append(name)
    return result


def share_levels(levels: Mapping[Level, float], count: int, begin: int = 0) -> list[Level]:
    """`count` levels in the wanted shares, from the place `begin` of the endless row of them."""
    return share_out(levels, LEVELS, begin + count)[begin:]


@dataclass(frozen=True, slots=True)
class Place:
    """One example of a shard: its level, and whether it is for a database of the user's, as the `number`th of these."""

    level: Level
    own: bool = False
    number: int = 0


def share_places(levels: Mapping[Level, float], own_share: float, shard: int, count: int) -> list[Place]:
    """A shard's examples. Levels keep their shares among own and among cross-domain examples alike, over all shards."""
    begin = shard * count
    before = whole(begin * own_share)
    owns = [whole((place + 1) * own_share) > whole(place * own_share) for place in range(begin, begin + count)]
    mine = iter(share_levels(levels, sum(owns), before))
    rest = iter(share_levels(levels, count - sum(owns), begin - before))
    numbers = iter(range(before, before + sum(owns)))
    return [Place(next(mine), True, next(numbers)) if own else Place(next(rest)) for own in owns]


def whole(amount: float) -> int:
    """The whole part, with room for what floating point loses."""
    return int(amount + 1e-9)
