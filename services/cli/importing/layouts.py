"""Where each format keeps its files: question files by split, tables.json, databases."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.importing.questions import Entry, Question, read_entries
from shared.contracts.datasets import Format
from shared.contracts.records import Policy
from shared.errors import InvalidInputError, NotFoundError

Reader = Callable[[Entry, str], Question]


@dataclass(frozen=True)
class Layout:
    """One format. A split lists its files; of a file with several spellings the first that is there counts.

    `databases` and `beside` are folders below and next to PATH. `golds` are files whose lines must agree.
    """

    policy: Policy
    splits: dict[str, tuple[tuple[str, ...], ...]]
    databases: tuple[str, ...]
    read: Reader
    golds: dict[str, str]
    tables: tuple[str, ...] = ()


def spider_question(entry: Entry, split: str, question: str = "question") -> Question:
    """Spider's own fields."""
    gold = entry.text("query")
    return Question(0, entry.file.name, entry.line, split, entry.text("db_id"), entry.text(question), gold)


def syn_question(entry: Entry, split: str) -> Question:
    """Spider-Syn keeps both questions; the one with synonyms counts."""
    return spider_question(entry, split, "SpiderSynQuestion")


def bird_question(entry: Entry, split: str) -> Question:
    """BIRD's fields; its train set has no difficulty."""
    return Question(
        index=0,
        file=entry.file.name,
        line=entry.line,
        split=split,
        db=entry.text("db_id"),
        text=entry.text("question"),
        gold=entry.text("SQL"),
        evidence=entry.optional("evidence"),
        hardness=entry.optional("difficulty"),
    )


SPIDER_TABLES = ("tables.json", "../spider/tables.json")
SPIDER_DATABASES = ("database", "../spider/database")
LAYOUTS: dict[Format, Layout] = {
    "spider": Layout(
        policy=Policy.SPIDER,
        splits={
            "train": (("train_spider.json", "train_spider.min.json"), ("train_others.json",)),
            "dev": (("dev.json",),),
            "test": (("test.json", "test_data/test.json"),),
        },
        databases=("database", "test_database"),
        read=spider_question,
        golds={"dev": "dev_gold.sql"},
        tables=("tables.json", "test_data/tables.json"),
    ),
    "spider-syn": Layout(
        policy=Policy.SPIDER,
        splits={"train": (("train_spider.json",),), "dev": (("dev.json",),)},
        databases=SPIDER_DATABASES,
        read=syn_question,
        golds={},
        tables=SPIDER_TABLES,
    ),
    "spider-dk": Layout(
        policy=Policy.SPIDER,
        splits={"dev": (("Spider-DK.json",),)},
        databases=SPIDER_DATABASES,
        read=spider_question,
        golds={},
        tables=SPIDER_TABLES,
    ),
    "spider-realistic": Layout(
        policy=Policy.SPIDER,
        splits={"dev": (("spider-realistic.json", "spider-realistic.min.json"),)},
        databases=SPIDER_DATABASES,
        read=spider_question,
        golds={},
        tables=SPIDER_TABLES,
    ),
    "bird": Layout(
        policy=Policy.BIRD,
        splits={"train": (("train.json", "train/train.json"),), "dev": (("dev.json", "dev/dev.json"),)},
        databases=("dev_databases", "train_databases", "dev/dev_databases", "train/train_databases"),
        read=bird_question,
        golds={"dev": "dev.sql", "train": "train_gold.sql"},
    ),
    "bird-mini": Layout(
        policy=Policy.BIRD,
        splits={"dev": (("mini_dev_sqlite.json", "mini_dev/mini_dev_sqlite.json"),)},
        databases=("dev_databases", "../dev_databases", "mini_dev/dev_databases"),
        read=bird_question,
        golds={"dev": "mini_dev_sqlite_gold.sql"},
    ),
}


def question_files(layout: Layout, root: Path, split: str) -> list[Path]:
    """The files of a split. Raises InvalidInputError for a split the format lacks, NotFoundError for absent files."""
    if split not in layout.splits:
        raise InvalidInputError(f"this format has no split {split!r}; it has {', '.join(layout.splits)}")
    if not root.is_dir():
        raise NotFoundError(f"there is no folder {root}; give the folder of the benchmark's files")
    found = [first_there(root, names) for names in layout.splits[split]]
    there = [path for path in found if path is not None]
    if not there:
        wanted = " or ".join(layout.splits[split][0])
        raise NotFoundError(f"{root} has no {wanted}; give the folder that holds it")
    return there


def first_there(root: Path, names: Iterable[str]) -> Path | None:
    """The first of these paths below `root` that exists."""
    return next((root / name for name in names if (root / name).exists()), None)


def database_folders(layout: Layout, root: Path, given: Sequence[Path]) -> list[Path]:
    """Folders below or beside PATH, after those that were given. Raises NotFoundError where there is none."""
    found = [*given, *(root / name for name in layout.databases if (root / name).is_dir())]
    if not found:
        raise NotFoundError(f"{root} has no folder {layout.databases[0]}; name the databases' folder with --db")
    return found


def read_questions(layout: Layout, files: Sequence[Path], split: str) -> Iterator[Question]:
    """The questions of all files, in order."""
    for path in files:
        for entry in read_entries(path):
            yield layout.read(entry, split)
