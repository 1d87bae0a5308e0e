"""What one import reads: questions, their databases, and what to note about them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from services.benchmarks.databases import DatabaseFolders, file_sha256
from services.benchmarks.importing.formats import (
    LAYOUTS,
    ImportedQuestion,
    custom_file,
    custom_folders,
    custom_questions,
    database_folders,
    first_there,
    numbered,
    question_files,
    read_questions,
)
from services.benchmarks.prediction_files import read_golds
from services.benchmarks.text_files import Problems, nearest_name
from shared.contracts.datasets import DATASET_SPLITS, DatasetFormat
from shared.contracts.records import Policy
from shared.errors import InvalidInputError

SPIDER_LICENCE = "CC BY-SA 4.0 (Spider, Yu et al. 2018)"
LICENCES: dict[DatasetFormat, str] = {
    "spider": SPIDER_LICENCE,
    "spider-syn": "MIT (Spider-Syn, Gan et al. 2021), over Spider's databases, CC BY-SA 4.0",
    "spider-dk": "MIT (Spider-DK, Gan et al. 2021), over Spider's databases, CC BY-SA 4.0",
    "spider-realistic": "CC BY-SA 4.0 (Spider-Realistic, Deng et al. 2021)",
    "bird": "CC BY-SA 4.0 (BIRD, Li et al. 2023)",
    "bird-mini": "CC BY-SA 4.0 (BIRD mini-dev)",
    "custom": "none stated",
}
# SHA-256 of a question file -> what it is. Files that we have seen; other versions are unknown, not wrong.
KNOWN = {
    "30d64a3fccde493226df79687aed9e4a1c0129525baf44f29c0573d914d758a4": "Spider 1.0 dev (1,034 questions)",
    "8abb6bdc6a38ee5cec061fa06c5770d8b0f8efc77eb18c318972e5d73ec0b242": "Spider 1.0 train_spider, three fields only",
    "c70b19cd000376d46331dce518c2bc5a672950c9bf2ee6ade7de519e373ee38d": "Spider-Syn dev (1,034 questions)",
    "f045467b2ec33df51362dddfcb9a9424470e3c0c5bacc2e2469805627300964a": "Spider-Syn train (7,000 questions)",
    "f8590106c56e0850c2e1412179a78fdcf86f02226ab9f81a4c367d1ae8575397": "Spider-DK (535 questions)",
    "5193cd3e255e57d72e38c3c4db1b547085f2a7c56e63414a9fc597a2c6730538": "Spider-Realistic, three fields only",
    "39b28ced80d71611e5dc496777387d5c382201d48f10593682c04d49c22f89d6": "BIRD dev (1,534 questions: 925/464/145)",
    "4ba5fa8de55856222f484d380d2ba872b380bf79d825de70478e2120cb0fc43b": "BIRD mini-dev, SQLite (500 questions)",
}


def release_of(hashes: dict[str, str]) -> str | None:
    """The published version of these files (name -> hash); None where one of them is unknown."""
    found = [KNOWN.get(one) for one in hashes.values()]
    known = [name for name in found if name is not None]
    return "; ".join(known) if known and len(known) == len(found) else None


SHOWN = 5


@dataclass(frozen=True)
class ImportRequest:
    """The arguments of `sense import`."""

    format: DatasetFormat
    path: Path
    split: str | None = None
    limit: int | None = None
    db: tuple[Path, ...] = ()
    tables: Path | None = None
    strict: bool = False
    lenient: bool = False


@dataclass
class ImportSource:
    """`skipped` counts questions by missing database; `notes` are sentences for people."""

    request: ImportRequest
    policy: Policy
    questions: list[ImportedQuestion]
    databases: DatabaseFolders
    tables: Path | None
    hashes: dict[str, str]
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, unusable: Mapping[str, str]) -> None:
        """Drops the questions on databases that cannot be read, and notes why.

        Raises InvalidInputError unless lenient, and where no question is left.
        """
        if not unusable:
            return
        left = [question for question in self.questions if question.db not in unusable]
        if not self.request.lenient or not left:
            remedy = "; --lenient leaves its questions out" if left else ""
            raise InvalidInputError(next(iter(unusable.values())).rstrip(".") + remedy)
        counts = Counter(question.db for question in self.questions if question.db in unusable)
        self.notes += [f"left out: {counts[name]} questions on {name!r}: {reason}" for name, reason in unusable.items()]
        self.skipped = dict(sorted({**self.skipped, **counts}.items()))
        self.questions = [replace(question, index=index) for index, question in enumerate(left)]

    @property
    def release(self) -> str | None:
        return release_of(self.hashes)


def checked_format(name: str) -> DatasetFormat:
    """Raises InvalidInputError for a name that is no format."""
    for known in get_args(DatasetFormat):
        if name == known:
            found: DatasetFormat = known
            return found
    raise InvalidInputError(f"no format is called {name!r}; known are {', '.join(get_args(DatasetFormat))}")


def read_source(request: ImportRequest) -> ImportSource:
    """Raises InvalidInputError or NotFoundError with file, line and remedy."""
    if request.split is not None and request.split not in DATASET_SPLITS:
        raise InvalidInputError(f"no split is called {request.split!r}; known are {', '.join(DATASET_SPLITS)}")
    source = read_custom(request) if request.format == "custom" else read_benchmark(request)
    if not source.questions:
        raise InvalidInputError(
            f"{request.path} has no questions of split {request.split or 'any'}; name another: --split"
        )
    # First, so that the limit counts the questions of the file.
    source.questions = source.questions[: request.limit]
    leave_out_missing(source)
    if source.release is None and request.format != "custom":
        source.notes.append(f"not a known version: {', '.join(source.hashes)} has a hash that we have not seen")
    return source


def read_custom(request: ImportRequest) -> ImportSource:
    """Custom questions are judged by the strict policy."""
    path = custom_file(request.path)
    databases = DatabaseFolders(custom_folders(path, list(request.db)))
    questions = numbered(custom_questions(path, request.split))
    return ImportSource(request, Policy.STRICT, questions, databases, request.tables, {path.name: file_sha256(path)})


def read_benchmark(request: ImportRequest) -> ImportSource:
    layout, split = LAYOUTS[request.format], request.split or "dev"
    files = question_files(layout, request.path, split)
    databases = DatabaseFolders(database_folders(layout, request.path, request.db))
    questions = numbered(read_questions(layout, files, split))
    tables = request.tables or first_there(request.path, layout.tables)
    hashes = {path.name: file_sha256(path) for path in files}
    source = ImportSource(request, layout.policy, questions, databases, tables, hashes)
    gold = files[0].parent / layout.golds.get(split, "")
    if layout.golds.get(split) and gold.exists() and len(files) == 1:
        compare_golds(source, gold)
    return source


def compare_golds(source: ImportSource, path: Path) -> None:
    """Notes where the official gold file and the questions differ; with `strict` that is an error."""
    problems = Problems(lenient=True)
    golds = read_golds(path, None, problems)
    differences = [str(problem) for problem in problems.found]
    if len(golds) != len(source.questions):
        differences.append(f"{path.name}: it has {len(golds)} golds for {len(source.questions)} questions")
    else:
        pairs = zip(golds, source.questions, strict=True)
        other = [
            one for gold, one in pairs if gold and (squeezed(gold.sql), gold.db_id) != (squeezed(one.gold), one.db)
        ]
        if other:
            lines = ", ".join(str(one.index + 1) for one in other[:SHOWN])
            differences.append(
                f"{path.name}: {len(other)} golds differ from {other[0].file} (lines {lines}); those count"
            )
    if differences and source.request.strict:
        raise InvalidInputError("; ".join(differences))
    source.notes += differences[:SHOWN]


def squeezed(sql: str) -> str:
    return " ".join(sql.rstrip("; \n").split())


def leave_out_missing(source: ImportSource) -> None:
    """Drops and counts the questions whose database is missing; with `strict`, or where all are, that is an error."""
    files = source.databases.files
    missing = [question for question in source.questions if question.db not in files]
    if not missing:
        return
    source.skipped = dict(sorted(Counter(one.db for one in missing).items()))
    first = missing[0]
    if source.request.strict or len(missing) == len(source.questions):
        raise InvalidInputError(
            f"{first.place}: no database is called {first.db!r}{nearest_name(first.db, files)} "
            f"({len(missing)} questions on {len(source.skipped)} missing databases); name their folder with --db"
        )
    source.questions = [question for question in source.questions if question.db in files]
