"""The gates' price and their judgement: CPU a gate, memory by size, recall and false positives.

    python -m tests.bench.bench_gates [--sizes 1000,10000,100000] [--offline 10000]

Recall: Spider dev is the test set; its questions are planted in training as Spider-Syn and Spider-Realistic
paraphrase them, with other openings, with other literals, and on copies of the schema with other names. False
positives: Spider train against Spider dev, and the offline writer's examples against both Spider dev and its own
held-out set. Planted ones are taken for imported on another copy of the database, unless a row says otherwise, so that
neither the database's content nor the schema alone gives them away.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from services.synthesis.collecting.collect import Gate, collect, duplicate_scope
from services.synthesis.gates.duplicates import NEAR_QUESTION, NearDuplicates
from services.synthesis.gates.features import NO_SCHEMA, SchemaFacts, extract_features, schema_facts
from services.synthesis.writers.grammar.writer import write_examples
from shared.catalog.datasets import example_id
from shared.contracts.records import Example, WrittenExample
from shared.sql.agreement import compared_literals, find_disagreement, parse_number
from shared.sql.parser import find_syntax_error
from shared.sql.spider.hardness import measured_hardness, schema_of_card
from shared.sql.tokens import sql_shape
from tests.support import planted
from tests.support.benchmarks import DATA, read_json, spider_predictions

Row = tuple[str, int, int, str]


def leaks(test: Sequence[Example], found: Sequence[Example], schema_of: Callable[[str], SchemaFacts]) -> Counter[str]:
    """How many of the examples are taken for leaks, by sign."""
    gate = Gate(test, schema_of, near=None)
    signs: Counter[str] = Counter()
    for one in found:
        leak = gate.tests.find_leak(one, gate.features(one), invented=one.provenance.writer != "imported")
        signs[leak.sign if leak is not None else ""] += 1
    return signs


def judgement() -> Iterator[Row]:
    """The table of recall and false positives."""
    known = planted.schemas()
    dev = planted.examples("spider/dev.json", split="test")
    train = planted.examples("spider/train_spider.min.json")
    syn = planted.examples("spider_syn/dev.json", question="SpiderSynQuestion")
    realistic = planted.examples("spider_realistic/spider-realistic.min.json")
    there, nowhere = known.__getitem__, lambda _name: NO_SCHEMA
    sets: list[tuple[str, list[Example], Callable[[str], SchemaFacts]]] = [
        ("Spider-Syn, schema copied", copies(syn), there),
        ("Spider-Syn, no schema to compare", copies(syn), nowhere),
        ("Spider-Syn with the SQL that DAIL-SQL wrote", copies(with_sql(syn, "dail_sql_gpt4")), there),
        ("Spider-Syn with the SQL that C3 wrote", copies(with_sql(syn, "c3_chatgpt")), there),
        ("Spider-Syn, other literals", copies(planted.with_other_literals(syn)), there),
        ("Spider-Syn, tables renamed", planted.with_tables_renamed(syn), there),
        ("Spider-Syn, written here on a copied schema", [owned(one) for one in copies(syn)], there),
        ("Spider-Syn, imported on the test's database", syn, there),
        ("Spider-Realistic, schema copied", copies(realistic), there),
        ("Spider dev itself", copies(dev), there),
        ("Spider dev, other openings", copies(planted.by_template(dev)), there),
        ("Spider dev, all names changed", planted.with_all_renamed(dev), there),
        ("FALSE: Spider train, imported", train, there),
        ("FALSE: Spider train, as if written here", [owned(one) for one in train], there),
    ]
    for name, found, schema_of in sets:
        yield row(name, leaks(dev, found, schema_of))
    yield row("FALSE: other questions on a copied schema", others(dev, there))
    yield row("FALSE: other questions on the test's database", others(dev, there, copied=False))


def others(dev: Sequence[Example], schema_of: Callable[[str], SchemaFacts], *, copied: bool = True) -> Counter[str]:
    """Each test question against those on its database that have another SQL (literals aside)."""
    shapes = {one.example_id: sql_shape(one.gold).named for one in dev}
    signs: Counter[str] = Counter()
    for one in dev:
        rest = [
            other
            for other in dev
            if other.database_id == one.database_id and shapes[other.example_id] != shapes[one.example_id]
        ]
        signs += leaks(rest, copies([one]) if copied else [one], schema_of)
    return signs


def copies(found: Sequence[Example]) -> list[Example]:
    """The same on databases of other content."""
    return [one.model_copy(update={"database_id": f"{one.database_id}/copy"}) for one in found]


def with_sql(found: Sequence[Example], system: str) -> list[Example]:
    """The same questions with what a real system answered to the question that each is a paraphrase of."""
    pairs = zip(found, spider_predictions(system), strict=True)
    return [one.model_copy(update={"gold": sql}) for one, sql in pairs]


def owned(one: Example) -> Example:
    """As if a strong model had written it."""
    return one.model_copy(update={"provenance": planted.INVENTED})


def row(name: str, signs: Counter[str]) -> Row:
    """A line of the table."""
    total = sum(signs.values())
    said = ", ".join(f"{sign} {count}" for sign, count in signs.most_common() if sign)
    return name, total - signs[""], total, said


def as_example(written: WrittenExample) -> Example:
    """As verification names it; the domain stands for the database."""
    database = f"offline/{written.domain}"
    return Example(
        example_id=example_id(database, written.question, None, written.sql),
        database_id=database,
        domain=written.domain,
        split=written.split,
        level=written.level,
        question=written.question,
        gold=written.sql,
        provenance=written.provenance,
    )


def offline(count: int, split: str, seed: int, known: dict[str, SchemaFacts]) -> list[Example]:
    """What the offline writer writes; the facts of its schemas go into `known`."""
    levels: Any = {"easy": 1.0, "medium": 1.0, "hard": 1.0}
    shards = range(-(-count // 40))
    written = [write_examples(seed=seed, split=split, shard=n, count=40, levels=levels) for n in shards]  # type: ignore[arg-type]
    made = [(as_example(one), one.database) for shard in written for one in shard][:count]
    for example, script in made:
        if script is not None and example.database_id not in known:
            known[example.database_id] = schema_facts(planted.script_card(example.database_id, script))
    return [example for example, _ in made]


def offline_rows(count: int) -> Iterator[Row]:
    """What the gates take from the offline writer."""
    known = planted.schemas()
    found, held_out = offline(count, "train", 7, known), offline(400, "test", 8, known)
    yield row("FALSE: offline writer against its held-out set", leaks(held_out, found, known.__getitem__))
    dev = planted.examples("spider/dev.json", split="test")
    yield row("FALSE: offline writer against Spider dev", leaks(dev, found, known.__getitem__))
    made = collect(found, [], None)
    yield "offline writer: repeated questions", made.duplicates, count, ""
    yield "offline writer: near-duplicates", made.near_duplicates, count, f"question >= {NEAR_QUESTION}"
    wrong = sum(find_disagreement(one.question, one.gold) is not None for one in found)
    yield "FALSE: offline writer, question and SQL disagree", wrong, count, ""


def agreement_rows() -> Iterator[Row]:
    """False and right rejections of the agreement gate on Spider train."""
    train = read_json("spider/train_spider.min.json")
    agreeing = [one for one in train if find_disagreement(one["question"], one["query"]) is None]
    yield "FALSE: Spider train, question and SQL disagree", len(train) - len(agreeing), len(train), ""
    rng = random.Random(0)
    pools: dict[bool, list[str]] = {True: [], False: []}
    for one in agreeing:
        for literal in telling(one["query"]):
            pools[parse_number(literal) is not None].append(literal)
    caught: Counter[tuple[bool, bool]] = Counter()
    for one in agreeing:
        if own := telling(one["query"]):
            literal = rng.choice(own)
            number = parse_number(literal) is not None
            planted_sql = one["query"].replace(literal, rng.choice(pools[number]), 1)
            if planted_sql != one["query"]:
                caught[number, find_disagreement(one["question"], planted_sql) is not None] += 1
    for number, name in ((True, "number"), (False, "text")):
        hits, missed = caught[number, True], caught[number, False]
        yield f"planted: another {name} in the SQL", hits, hits + missed, ""


def telling(sql: str) -> list[str]:
    """Literals that a question has to say."""
    return [
        one
        for one in compared_literals(sql)
        if parse_number(one) not in (0.0, 1.0) and len(one) > (parse_number(one) is None) * 2
    ]


def prices(count: int = 1500) -> Iterator[tuple[str, float]]:
    """CPU milliseconds an example, a gate, over Spider train."""
    known = planted.schemas()
    train = planted.examples("spider/train_spider.min.json")[:count]
    dev = planted.examples("spider/dev.json", split="test")
    gate, near = Gate(dev, known.__getitem__), NearDuplicates()
    cards = {one["db_id"]: schema_of_card(planted.card(one)) for one in read_json("spider/tables.json")}
    found = [extract_features(one, known[one.database_id]) for one in train]
    works: list[tuple[str, Callable[[int], object]]] = [
        ("parse (sqlglot)", lambda n: find_syntax_error(train[n].gold)),
        ("hardness", lambda n: measured_hardness(train[n].gold, cards[train[n].database_id])),
        ("agreement", lambda n: find_disagreement(train[n].question, train[n].gold)),
        ("features of question and SQL", lambda n: gate.features(train[n])),
        ("leakage", lambda n: gate.tests.find_leak(train[n], found[n], invented=False)),
        ("near-duplicates (MinHash)", lambda n: near.seen(duplicate_scope(train[n]), found[n])),
    ]
    for name, work in works:
        start = time.process_time()
        for place in range(count):
            work(place)
        yield name, (time.process_time() - start) / count * 1000
    yield "collect as a whole, with reading and writing rows", whole(train, dev, known)


def whole(train: list[Example], dev: list[Example], known: dict[str, SchemaFacts]) -> float:
    """CPU milliseconds an example of `collect`."""
    own = [owned(one) for one in train]
    begin = time.process_time()
    collect(iter([]), dev, None, schema_of=known.__getitem__)
    start = time.process_time()
    collect(own, dev, None, schema_of=known.__getitem__)
    end = time.process_time()
    return (end - start - (start - begin)) / len(train) * 1000


def stream(count: int) -> Iterator[Example]:
    """Different examples, each on a database of its own, made one at a time."""
    words = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "iris", "jade", "kelp", "lotus")
    for number in range(count):
        rng = random.Random(number)
        one, two, three, four = (rng.choice(words) + str(rng.randrange(900)) for _ in range(4))
        question = f"Which {one} of the {two} have a {three} above {number} and how many {four} does each of them hold?"
        gold = f"SELECT {one}, COUNT(*) FROM {two} WHERE {three} > {number} GROUP BY {one} ORDER BY COUNT({four})"
        yield planted.make(f"{number:064x}", question, gold, own=True)


def memory(count: int) -> None:
    """Growth of the process by one collection, printed as JSON: run in a process of its own."""
    import psutil

    process = psutil.Process()
    collect(stream(200), [], None)  # libraries are loaded
    before, start = process.memory_info().rss, time.process_time()
    made = collect(stream(count), [], None)
    grown = (process.memory_info().rss - before) / 2**20
    print(json.dumps({"kept": len(made.examples), "grown_mib": grown, "cpu_s": time.process_time() - start}))


def main() -> None:
    """Prints the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--offline", type=int, default=10_000)
    parser.add_argument("--memory", type=int)
    given = parser.parse_args()
    if given.memory is not None:
        memory(given.memory)
        return
    if (DATA / "spider/dev.json").exists():
        for name, hits, total, said in chain(judgement(), agreement_rows(), offline_rows(given.offline)):
            print(f"{name:52} {hits:6} of {total:6} {100 * hits / total:6.2f} %  {said}", flush=True)
        for name, price in prices():
            print(f"{name:52} {price:8.3f} ms of CPU an example", flush=True)
    for size in given.sizes.split(","):
        command = [sys.executable, "-m", "tests.bench.bench_gates", "--memory", size]
        out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        each = out["grown_mib"] * 2**20 / int(size)
        said = f"{out['kept']} kept, {out['grown_mib']:.1f} MiB more ({each:.0f} bytes an example)"
        print(f"collect {size:>7}: {said}, {1000 * out['cpu_s'] / int(size):.2f} ms of CPU an example", flush=True)


if __name__ == "__main__":
    main()
