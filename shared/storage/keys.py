"""Every object key, and the rules that every key obeys (docs/architecture.md)."""

import re
import unicodedata
from collections.abc import Iterable

from shared.errors import InvalidInputError

# The directory store turns parts into file names (at most 255 bytes on Linux); S3 keys have at most 1,024 bytes.
PART_LIMIT = 200
PART_BYTES_LIMIT = 240
KEY_BYTES_LIMIT = 900
TEMPORARY_PREFIX = ".sense-tmp-"
UPLOADS_PREFIX = "uploads/"
DATASETS_PREFIX = "datasets/"
DDL_DATABASES_PREFIX = "ddl-databases/"
TEST_SUITES_PREFIX = "test-suites/"
ANSWERS_PREFIX = "answers/"
KEYS_PREFIX = "keys/"
MODELS_PREFIX = "models/"
SHA256 = re.compile(r"[0-9a-f]{64}")


def check_part(part: str, key: str) -> None:
    """Raises `InvalidInputError` for a part (between slashes) that is empty, `.`, `..` or too long, that holds control
    characters or backslashes, or that begins with the directory store's prefix for files being written.
    """
    if part in ("", ".", ".."):
        raise InvalidInputError(f"object key {key[:80]!r} has the part {part!r}; name every part between slashes")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in part):
        raise InvalidInputError(f"object key {key[:80]!r} holds a control character; leave it out")
    if "\\" in part:
        raise InvalidInputError(
            f"object key {key[:80]!r} holds a backslash; S3 servers disagree about it, leave it out"
        )
    if len(part) > PART_LIMIT or len(part.encode()) > PART_BYTES_LIMIT:
        raise InvalidInputError(f"object key {key[:80]!r}… has a part above {PART_LIMIT} characters; shorten it")
    if part.startswith(TEMPORARY_PREFIX):
        raise InvalidInputError(f"object key {key[:80]!r} begins a part with {TEMPORARY_PREFIX}, which is reserved")


def check_key(key: str) -> str:
    """Returns the key; raises `InvalidInputError` if it breaks a rule."""
    for part in key.split("/"):
        check_part(part, key)
    if len(key.encode()) > KEY_BYTES_LIMIT:
        raise InvalidInputError(f"object key {key[:80]!r}… is above {KEY_BYTES_LIMIT} bytes; shorten it")
    return key


def check_prefix(prefix: str) -> str:
    """Checks a prefix for `list`; its last part may be unfinished or empty."""
    *folders, last = prefix.split("/")
    for part in folders:
        check_part(part, prefix)
    if last:
        # An unfinished `.` may go on as `.name`, so it is checked as the beginning of a part.
        check_part(last + "_" if last in (".", "..") else last, prefix)
    return prefix


def parents(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _join(*parts: str) -> str:
    for part in parts:
        # An id with a slash would address another object's folder.
        if "/" in part:
            raise InvalidInputError(f"the id {part[:80]!r} holds a slash; ids in object keys are single names")
    return check_key("/".join(parts))


def database_key(sha256: str) -> str:
    return _join("databases", f"{sha256}.sqlite")


def card_key(sha256: str) -> str:
    return _join("databases", f"{sha256}.json")


def ddl_database_key(sha256: str) -> str:
    """A database built from a question's DDL; it is deleted when unused for some days.

    Its last part differs from a stored database's, because local copies are named by it.
    """
    return _join("ddl-databases", f"{sha256}-question.sqlite")


def ddl_card_key(sha256: str) -> str:
    """The schema card is written after the database and again with each use: its age is the time since the last use."""
    return _join("ddl-databases", f"{sha256}.json")


def is_sha256(text: str) -> bool:
    return SHA256.fullmatch(text) is not None


def upload_key(created_ms: int, sha256: str) -> str:
    """The record of an uploaded database; a listing is in the order of arrival."""
    return _join("uploads", f"{created_ms:014}-{sha256}.json")


def api_key_key(name: str) -> str:
    """The record of an API key: its SHA-256, never the key."""
    return _join("keys", f"{name}.json")


def test_suite_database_key(sha256: str, set_name: str, index: int) -> str:
    """A test-suite database; its last part names the original, because local copies are named by it."""
    return _join("test-suites", sha256, f"{sha256}.{set_name}.{index}.sqlite")


def dataset_key(name: str, version: str, file: str) -> str:
    return check_key(f"{_join('datasets', name, version)}/{file}")


def answer_key(answer_hash: str) -> str:
    return _join("answers", f"{answer_hash}.json")


def shard_key(job: str, stage: str, shard: int | str, attempt: int, file: str) -> str:
    return _join("jobs", job, stage, f"{shard}.{attempt}.{file}")


def export_key(job: str, stage: str, name: str) -> str:
    return check_key(f"{_join('jobs', job, stage, 'export')}/{name}")


def checkpoints_prefix(job: str, stage: str) -> str:
    return _join("jobs", job, stage, "checkpoint-")


def checkpoint_key(job: str, stage: str, step: int, file: str) -> str:
    return check_key(f"{_join('jobs', job, stage, f'checkpoint-{step}')}/{file}")


def metrics_key(job: str, stage: str) -> str:
    return _join("jobs", job, stage, "metrics.jsonl")


def model_key(name: str, file: str) -> str:
    return check_key(f"{_join('models', name)}/{file}")


def model_manifest_key(name: str) -> str:
    """The manifest, written last: a model without one does not exist."""
    return model_key(name, "manifest.json")


def report_key(job: str, stage: str, suffix: str) -> str:
    """A report; `suffix` is `json`, `md`, `html`, or `questions.jsonl` for its records."""
    return _join("reports", job, f"{stage}.{suffix}")


def archive_key(job: str, name: str, epoch: int = 1) -> str:
    """A file of a finished job's archive.

    Each retry has files of its own (`job.2.json`), so that a late writer of an older one overwrites nothing.
    """
    stem, _, suffix = name.partition(".")
    return _join("jobs", job, name if epoch == 1 else f"{stem}.{epoch}.{suffix}")


def newest_epoch(job: str, keys: Iterable[str]) -> int | None:
    """The last archived run of a job, by the keys below `jobs/JOB/job.`; None without any."""
    found = (re.fullmatch(rf"jobs/{re.escape(job)}/job(?:\.(\d+))?\.json", key) for key in keys)
    return max((int(match[1] or 1) for match in found if match), default=None)
