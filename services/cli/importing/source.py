"""One import: the questions that can be used, the databases they are on, and all that was noticed on the way."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from services.cli.importing.custom import custom_file, custom_folders, custom_questions
from services.cli.importing.folders import DatabaseFolders
from services.cli.importing.layouts import LAYOUTS, database_folders, first_there, question_files, read_questions
from services.cli.importing.questions import Question, numbered
from services.cli.importing.releases import file_hash, release_of
from services.evaluation.benchmark.lines import Problems
from services.evaluation.benchmark.pairs import Gold, read_golds
from shared.contracts.datasets import DATASET_SPLITS, Format
from shared.contracts.records import Policy
from shared.errors import InvalidInputError

SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """What the command was given."""

    format: Format
    path: Path
    split: str | None = None
    limit: int | None = None
    db: tuple[Path, ...] = ()
    tables: Path | None = None
    strict: bool = False
    lenient: bool = False


@dataclass
class Source:
    """What was read. `skipped`: questions by the database that is missing; `notes` are sentences for people."""

    asked: Asked
    policy: Policy
    questions: list[Question]
    databases: DatabaseFolders
    tables: Path | None
    hashes: dict[str, str]
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, unusable: Mapping[str, str]) -> None:
        """Drops, where lenient, the questions on databases that cannot be read, each noted with its reason.

        Raises InvalidInputError where that was not asked for, or where no question is left.
        """
        if not unusable:
            return
        left = [question for question in self.questions if question.db not in unusable]
        if not self.asked.lenient or not left:
            remedy = "; --lenient leaves its questions out" if left else ""
            raise InvalidInputError(next(iter(unusable.values())).rstrip(".") + remedy)
        counts = Counter(question.db for question in self.questions if question.db in unusable)
        self.notes += [f"left out: {counts[name]} questions on {name!r}: {said}" for name, said in unusable.items()]
        self.skipped = dict(sorted({**self.skipped, **counts}.items()))
        self.questions = [replace(question, index=index) for index, question in enumerate(left)]

    @property
    def release(self) -> str | None:
        """The published version, where the files are known."""
        return release_of(self.hashes)


def checked_format(name: str) -> Format:
    """The format. Raises InvalidInputError."""
    for known in get_args(Format):
        if name == known:
            found: Format = known
            return found
    raise InvalidInputError(f"no format is called {name!r}; known are {', '.join(get_args(Format))}")


def read_source(asked: Asked) -> Source:
    """Reads files and folders. Raises InvalidInputError or NotFoundError naming file, line and remedy."""
    if asked.split is not None and asked.split not in DATASET_SPLITS:
        raise InvalidInputError(f"no split is called {asked.split!r}; known are {', '.join(DATASET_SPLITS)}")
    source = read_custom(asked) if asked.format == "custom" else read_benchmark(asked)
    if not source.questions:
        raise InvalidInputError(f"{asked.path} has no questions of split {asked.split or 'any'}; name another: --split")
    source.questions = source.questions[: asked.limit]
    leave_out_missing(source)
    if source.release is None and asked.format != "custom":
        source.notes.append(f"not a known version: {', '.join(source.hashes)} has a hash that we have not seen")
    return source


def read_custom(asked: Asked) -> Source:
    """Own questions: judged by the strict policy."""
    path = custom_file(asked.path)
    databases = DatabaseFolders(custom_folders(path, list(asked.db)))
    questions = numbered(custom_questions(path, asked.split))
    return Source(asked, Policy.STRICT, questions, databases, asked.tables, {path.name: file_hash(path)})


def read_benchmark(asked: Asked) -> Source:
    """A published layout."""
    layout, split = LAYOUTS[asked.format], asked.split or "dev"
    files = question_files(layout, asked.path, split)
    databases = DatabaseFolders(database_folders(layout, asked.path, asked.db))
    questions = numbered(read_questions(layout, files, split))
    tables = asked.tables or first_there(asked.path, layout.tables)
    hashes = {path.name: file_hash(path) for path in files}
    source = Source(asked, layout.policy, questions, databases, tables, hashes)
    gold = files[0].parent / layout.golds.get(split, "")
    if layout.golds.get(split) and gold.exists() and len(files) == 1:
        compare_golds(source, gold)
    return source


def compare_golds(source: Source, path: Path) -> None:
    """Notes where the official gold file says something else than the questions; with `strict` that is an error."""
    problems = Problems(lenient=True)
    golds = read_golds(path, None, problems)
    said = [str(problem) for problem in problems.found]
    if len(golds) != len(source.questions):
        said.append(f"{path.name}: it has {len(golds)} golds for {len(source.questions)} questions")
    else:
        pairs = zip(golds, source.questions, strict=True)
        other = [
            one for gold, one in pairs if gold and (squeezed(gold.sql), gold.db_id) != (squeezed(one.gold), one.db)
        ]
        if other:
            lines = ", ".join(str(one.index + 1) for one in other[:SHOWN])
            said.append(f"{path.name}: {len(other)} golds differ from {other[0].file} (lines {lines}); those count")
    if said and source.asked.strict:
        raise InvalidInputError("; ".join(said))
    source.notes += said[:SHOWN]


def differs(gold: Gold, question: Question) -> bool:
    """Whether the gold file says another SQL or database than the question."""
    return squeezed(gold.sql) != squeezed(question.gold) or gold.db_id != question.db


def squeezed(sql: str) -> str:
    """SQL without differences of white space and a closing semicolon."""
    return " ".join(sql.rstrip("; \n").split())


def leave_out_missing(source: Source) -> None:
    """Counts questions whose database is not here and drops them; with `strict`, or where all are, that is an error."""
    files = source.databases.files
    missing = [question for question in source.questions if question.db not in files]
    if not missing:
        return
    source.skipped = dict(sorted(Counter(one.db for one in missing).items()))
    first = missing[0]
    if source.asked.strict or len(missing) == len(source.questions):
        raise InvalidInputError(
            f"{first.place}: no database is called {first.db!r}{hint(first.db, list(files))} "
            f"({len(missing)} questions on {len(source.skipped)} missing databases); name their folder with --db"
        )
    source.questions = [question for question in source.questions if question.db in files]


def hint(name: str, known: Sequence[str]) -> str:
    """The nearest known name."""
    near = [one for one in known if one.casefold() == name.casefold()] or get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
