"""The offline writer for databases of the user's: simple questions over real tables, columns, keys and values.

It reads the schema card alone, so it knows at most three values a column; what it writes is run and verified as all
else is. A small schema gives few different questions: then fewer than asked for are written.
"""

import random
from collections.abc import Iterator, Sequence

from services.synthesis.own import Own
from services.synthesis.own_intents import INTENTS
from services.synthesis.own_view import View
from services.synthesis.shares import Place
from shared.contracts.records import Level, Provenance, Split, Written
from shared.sampling import stable_seed

WRITER_VERSION = "own-grammar/1"
TRIES = 60


def write_own(*, seed: int, split: Split, shard: int, places: Sequence[Place], owns: Sequence[Own]) -> list[Written]:
    """An example for each place for which a new one can be found."""
    seen: set[tuple[str, str]] = set()
    found = []
    for place in places:
        own = owns[place.number % len(owns)]
        rng = random.Random(stable_seed("own", seed, split, shard, place.number))
        for intent, question, sql in draws(View(own.card, rng), place.level):
            if (own.card.database_id, sql) not in seen:
                seen.add((own.card.database_id, sql))
                found.append(as_written(own, place.level, split, seed, intent, question, sql))
                break
    return found


def draws(view: View, level: Level) -> Iterator[tuple[str, str, str]]:
    """(intent, question, gold), as many as may be tried."""
    for _ in range(TRIES):
        intent = view.rng.choice(INTENTS[level])
        try:
            yield (intent.__name__, *intent(view))
        except LookupError:
            continue


def as_written(own: Own, level: Level, split: Split, seed: int, intent: str, question: str, sql: str) -> Written:
    """One example; its database is there already."""
    source = Provenance(writer="grammar", writer_version=WRITER_VERSION, seed=seed, source=intent)
    return Written(
        domain=own.name,
        split=split,
        level=level,
        question=question,
        sql=sql,
        database_id=own.card.database_id,
        provenance=source,
    )
