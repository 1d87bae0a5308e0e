"""The grammar writer: examples without a model, the same bytes for the same arguments on any machine."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from random import Random

from services.synthesis.grammar.pool import INTENTS, Drawn, Menu, Pool
from services.synthesis.grammar.schema import load_domains
from services.synthesis.grammar.world import World
from shared.contracts.records import Level, Provenance, Split, Written
from shared.errors import InvalidInputError

WRITER_VERSION = "grammar/2"


def write_examples(
    *,
    seed: int,
    split: Split,
    shard: int,
    count: int,
    levels: Mapping[Level, float],
    features: Mapping[str, float] | None = None,
) -> list[Written]:
    """Exactly `count` examples; level shares are met to the nearest whole example.

    Golds return rows, have no tie at a LIMIT or in an ORDER BY, and no part of a WHERE is idle. At each level domains
    take turns. Shards of one count and one seed share out one order of examples, in which no shape of SQL comes twice
    for a domain as long as new ones can be found. `features` are factors on the weights of the intents that use an SQL
    feature (names of `shared.sql.features`): 2 asks twice as often for it, 0 never. Raises InvalidInputError for a
    split without a grammar, a negative count, shares that do not add up to more than 0, or factors that leave nothing.
    """
    factors = tuple(sorted((features or {}).items()))
    quota = _quota(count, levels)
    domains = [domain.name for domain in load_domains(split)]
    Random(f"domains/{seed}/{split}").shuffle(domains)
    rows = []
    for turn, level in enumerate(INTENTS):
        for place in range(shard * quota[level], (shard + 1) * quota[level]):
            # Levels start a third of the way apart, so that a small shard meets as many domains as it can.
            domain = domains[(place + turn * len(domains) // len(INTENTS)) % len(domains)]
            pool = _pool(split, seed, count, domain, level, factors)
            rows.append(_written(pool, pool.get(place // len(domains)), seed))
    Random(f"grammar/{seed}/{split}/{shard}").shuffle(rows)
    return rows


@lru_cache(maxsize=256)
def _world(split: Split, seed: int, name: str) -> World:
    """A domain with its rows."""
    return World.build(next(domain for domain in load_domains(split) if domain.name == name), seed)


@lru_cache(maxsize=512)
def _pool(split: Split, seed: int, count: int, name: str, level: Level, factors: tuple[tuple[str, float], ...]) -> Pool:
    """The order of one domain at one level. Shards of another size, such as a job's last one, have one of their own."""
    key = f"grammar/{seed}/{split}/{count}/{name}/{level}/{factors}"
    return Pool(_world(split, seed, name), split, _menu(level, factors), key)


@lru_cache(maxsize=32)
def _menu(level: Level, factors: tuple[tuple[str, float], ...]) -> Menu:
    return Menu.of(level, dict(factors))


def _quota(count: int, levels: Mapping[Level, float]) -> Counter[Level]:
    """How many examples of each level: largest remainders, ties in the order easy, medium, hard."""
    total = sum(levels.values())
    if count < 0 or total <= 0 or min(levels.values()) < 0 or not set(levels) <= set(INTENTS):
        raise InvalidInputError("Ask for a count of 0 or more and give shares above 0 for levels easy, medium, hard.")
    shares = {level: count * levels.get(level, 0.0) / total for level in INTENTS}
    whole = {level: int(share + 1e-9) for level, share in shares.items()}
    rest = sorted(INTENTS, key=lambda level: whole[level] - shares[level])[: count - sum(whole.values())]
    return Counter({level: whole[level] + (level in rest) for level in INTENTS})


def _written(pool: Pool, drawn: Drawn, seed: int) -> Written:
    """A drawn example with its database and its provenance."""
    return Written(
        domain=pool.world.domain.name,
        split=pool.split,
        level=pool.menu.level,
        question=drawn.question,
        sql=drawn.sql,
        database=pool.world.database,
        provenance=Provenance(writer="grammar", writer_version=WRITER_VERSION, seed=seed, source=drawn.source),
    )
