"""`sense evaluate` against Spider's official evaluator: wall time with start-up, and memory of the whole process tree.

    python -m tests.bench.bench_evaluate [--rounds 3] [--official FOLDER --official-python PYTHON] [--databases 31]

FOLDER is a checkout of taoyds/test-suite-sql-eval outside of this project, PYTHON one that has its packages (nltk,
sqlparse, tqdm). Both take turns. Without them, the figures of the data's README stand for the official ones. nltk's
sentence model is not needed: its word tokeniser is put in its place, which changes no result (docs/decisions/0009).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import psutil

from tests.support.benchmarks import DATA, spider_golds

SENSE = Path(sys.executable).with_name("sense")
README_S = (4.7, 5.6)  # EX and EM by the official evaluator on an idle machine of two cores, from the data's README
SPIDER, PREDICTIONS = DATA / "spider", DATA / "predictions/spider_dev/din_sql_gpt4.sql"
OFFICIAL = """
import nltk, runpy, sys
from nltk.tokenize import NLTKWordTokenizer
nltk.word_tokenize = NLTKWordTokenizer().tokenize
sys.path.insert(0, ".")
sys.argv = ["evaluation.py", *sys.argv[1:]]
runpy.run_path("evaluation.py", run_name="__main__")
"""
RUNAWAY = f"SELECT count(*) FROM {', '.join(f'singer s{n}' for n in range(12))}"


def tree_bytes(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total


def measured(command: Sequence[str | Path], cwd: Path | None = None) -> tuple[float, float]:
    """(seconds, peak MiB of the tree)."""
    peak, start = 0, time.perf_counter()
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    words = [str(word) for word in command]
    process = psutil.Popen(words, cwd=cwd, env=kept, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            try:
                peak = max(peak, tree_bytes(process))
            except psutil.Error:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    complaint = process.stderr.read().decode()
    code = process.wait()
    wall = time.perf_counter() - start
    done.set()
    watcher.join()
    assert code == 0, complaint
    return wall, peak / 2**20


def ours(db: Path, metrics: str, pred: Path = PREDICTIONS, *extra: str) -> list[str | Path]:
    words: list[str | Path] = [SENSE, "evaluate", "--benchmark", "spider", "--gold", SPIDER / "dev_gold.sql"]
    return [*words, "--pred", pred, "--db", db, "--tables", SPIDER / "tables.json", "--metrics", metrics, *extra]


def official(python: Path, db: Path, kind: str) -> list[str | Path]:
    files: list[str | Path] = ["--gold", SPIDER / "dev_gold.sql", "--pred", PREDICTIONS, "--db", db]
    return [python, "-c", OFFICIAL, *files, "--table", SPIDER / "tables.json", "--etype", kind]


def turns(
    name: str, rounds: int, theirs: Callable[[], tuple[float, float]] | None, mine: list[str | Path], want: float
) -> None:
    runs = [(theirs() if theirs else (sum(README_S) / 2, 0.0), measured(mine)) for _ in range(rounds)]
    ratio = median(first[0] / second[0] for first, second in runs)
    first, second = median(run[0][0] for run in runs), median(run[1][0] for run in runs)
    peak = max(run[1][1] for run in runs)
    source = "" if theirs else " (official: figure of the data's README, not measured here)"
    print(
        f"{name:<34} official {first:7.2f} s  sense {second:6.2f} s  ratio {ratio:5.2f}, wanted {want}; "
        f"{peak:.0f} MiB, wanted below 300{source}"
    )


def suite(databases: int, folder: Path) -> Path:
    """A folder with so many files a database that it looks like a distilled suite to both."""
    out = folder / "suite"
    files: list[str | Path] = ["--gold", SPIDER / "dev_gold.sql", "--db", SPIDER / "database", "--out", out]
    words: list[str | Path] = [SENSE, "suite", "build", *files, "--count", str(databases - 1)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    (out / "suite.json").unlink()
    return out


def runaways(folder: Path, count: int) -> Path:
    """Predictions that are the golds, but for some that never end."""
    lines = [sql for sql, _ in spider_golds()]
    places = [place for place, (_, database) in enumerate(spider_golds()) if database in ("concert_singer", "singer")]
    for place in places[:count]:
        lines[place] = RUNAWAY
    path = folder / "runaways.sql"
    path.write_text("\n".join(lines) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--official-python", type=Path)
    parser.add_argument("--databases", type=int, default=31)
    given = parser.parse_args()
    if not SPIDER.exists():
        print(f"no benchmark data at {DATA}: nothing measured")
        return

    def theirs(db: Path, kind: str) -> Callable[[], tuple[float, float]] | None:
        if given.official is None:
            return None
        return lambda: measured(official(given.official_python, db, kind), given.official)

    database = SPIDER / "database"
    turns(
        "EX and EM, official rules",
        given.rounds,
        theirs(database, "all"),
        ours(database, "ex,em", PREDICTIONS, "--no-both"),
        4,
    )
    turns("EX and EM, both rules", given.rounds, theirs(database, "all"), ours(database, "ex,em"), 4)
    with tempfile.TemporaryDirectory() as folder:
        if given.official is not None:
            db = suite(given.databases, Path(folder))
            name = f"TS over {given.databases} databases"
            turns(name, 1, theirs(db, "exec"), ours(db, "ex,ts", PREDICTIONS, "--no-both"), 8)
        count, deadline = 12, 2.0
        result = Path(folder) / "result.json"
        pred = runaways(Path(folder), count)
        extra = ("--no-both", "--deadline", str(deadline), "--json", str(result))
        wall, peak = measured(ours(database, "ex", pred, *extra))
        ended = json.loads(result.read_text())["verdicts"].get("timeout", 0)
        bound = count * deadline / 2 + 10
        print(
            f"{count} runaway joins ({ended} timed out): {wall:.1f} s, wanted below {bound:.0f}; "
            f"{peak:.0f} MiB, wanted below 1024"
        )


if __name__ == "__main__":
    main()
