"""Database files that someone made to do harm, built on the spot: SQL where SQLite lets it, bytes where it does not."""

import random
import re
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.unit.sandbox.attacks.trial import DAMAGED

FILES = Path(__file__).parent / "files"
PAGE = 1024
PLAIN = """CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB); CREATE INDEX t_b ON t(b);
INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)
SELECT i, 'row ' || i, zeroblob(i % 50) FROM n;
INSERT INTO t VALUES (1000, 'long', zeroblob(20000));"""


@dataclass(frozen=True)
class Hostile:
    """One file, one query, and what may come of it: outcomes, or DAMAGED."""

    name: str
    build: Callable[[Path], None]
    sql: str
    expect: frozenset[str]


def script(sql: str) -> Callable[[Path], None]:
    """A file from SQL."""

    def build(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(f"PRAGMA synchronous = OFF; PRAGMA page_size = {PAGE}; {sql}")
        connection.close()

    return build


def patched(*changes: tuple[int, bytes], sql: str = PLAIN) -> Callable[[Path], None]:
    """A file from SQL with bytes overwritten."""

    def build(path: Path) -> None:
        script(sql)(path)
        data = bytearray(path.read_bytes())
        for offset, new in changes:
            data[offset : offset + len(new)] = new
        path.write_bytes(bytes(data))

    return build


def noise(seed: int, pages: int, first: int) -> Callable[[Path], None]:
    """Random bytes at random places behind page `first`."""

    def build(path: Path) -> None:
        script(PLAIN)(path)
        data, dice = bytearray(path.read_bytes()), random.Random(seed)
        for _ in range(pages):
            start = dice.randrange(first * PAGE, len(data) - 64)
            data[start : start + 64] = dice.randbytes(64)
        path.write_bytes(bytes(data))

    return build


def cut(size: int) -> Callable[[Path], None]:
    """A file that ends too soon."""

    def build(path: Path) -> None:
        script(PLAIN)(path)
        path.write_bytes(path.read_bytes()[:size])

    return build


def raw(content: bytes) -> Callable[[Path], None]:
    """Just these bytes."""

    def build(path: Path) -> None:
        path.write_bytes(content)

    return build


def overflow_loop(path: Path) -> None:
    """Every page of the long value's chain points to itself."""
    script(PLAIN)(path)
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // PAGE):
        start = page * PAGE
        following = struct.unpack_from(">I", data, start)[0]
        if following == page + 2 and not any(data[start + 4 : start + 500]):
            struct.pack_into(">I", data, start, page + 1)
    path.write_bytes(bytes(data))


def fan(path: Path) -> None:
    """Interior pages, each of which names the next one a hundred times: a tree of 100^15 leaves in a few pages."""
    script("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)")(path)
    data = bytearray(path.read_bytes())
    depth = 15
    for level in range(depth):
        page = bytearray(PAGE)
        child = level + 3
        cells = b"".join(struct.pack(">IB", child, 1) for _ in range(100))
        start = PAGE - len(cells)
        struct.pack_into(">BHHHBI", page, 0, 5, 0, 100, start, 0, child)
        for cell in range(100):
            struct.pack_into(">H", page, 12 + 2 * cell, start + 5 * cell)
        page[start:] = cells
        data[(level + 1) * PAGE :] = page
    leaf = bytearray(PAGE)
    struct.pack_into(">BHHHB", leaf, 0, 13, 0, 1, PAGE - 5, 0)
    struct.pack_into(">H", leaf, 8, PAGE - 5)
    leaf[PAGE - 5 :] = bytes([3, 1, 2, 0, 0])  # payload of 3 bytes, rowid 1, a header of 2 bytes: one NULL
    data += leaf
    struct.pack_into(">I", data, 28, len(data) // PAGE)
    path.write_bytes(bytes(data))


def case(name: str, build: Callable[[Path], None], sql: str, *expect: str) -> Hostile:
    return Hostile(name, build, sql, frozenset(expect))


ALL = "SELECT * FROM t"
EVERY_T = "SELECT count(*), sum(length(c)), max(b) FROM t"
ANYTHING = (
    "ok",
    "empty",
    "row_limit",
    "timeout",
    "byte_limit",
    "memory_limit",
    "decode_error",
    "unknown_table",
    DAMAGED,
)

DAMAGE = [
    *(case(f"noise {seed}", noise(seed, 12, 1), EVERY_T, *ANYTHING) for seed in range(8)),
    *(case(f"noise in the schema {seed}", noise(seed, 3, 0), EVERY_T, *ANYTHING) for seed in range(6)),
    *(case(f"cut at {size}", cut(size), EVERY_T, DAMAGED, "unknown_table") for size in (16, 99, 100, 512, 1024, 5000)),
    case("nothing but a header", raw(b"SQLite format 3\x00"), ALL, DAMAGED),
    case("a header and zeros", raw(b"SQLite format 3\x00" + bytes(8176)), ALL, DAMAGED),
    case("random bytes", raw(random.Random(1).randbytes(8192)), ALL, DAMAGED),
    case("random bytes behind a header", raw(b"SQLite format 3\x00" + random.Random(2).randbytes(8176)), ALL, DAMAGED),
    case("page size of three", patched((16, b"\x00\x03")), ALL, DAMAGED),
    case("page size of 65536", patched((16, b"\x00\x01")), ALL, DAMAGED),
    case("page size of 32768", patched((16, b"\x80\x00")), ALL, DAMAGED),
    case("all of a page reserved", patched((20, b"\xff")), ALL, DAMAGED, *ANYTHING),
    case("file format 99 to read", patched((19, b"\x63")), ALL, DAMAGED),
    case("file format 99 to write", patched((18, b"\x63")), ALL, "ok"),
    case("schema format 99", patched((44, struct.pack(">I", 99))), ALL, DAMAGED),
    case("text encoding 7", patched((56, struct.pack(">I", 7))), EVERY_T, *ANYTHING),
    case("four thousand million pages", patched((28, b"\xff\xff\xff\xff")), EVERY_T, "ok", DAMAGED),
    case("a huge cache wished for", patched((48, b"\x7f\xff\xff\xff")), EVERY_T, "ok"),
    case("write-ahead log in the header", patched((18, b"\x02\x02")), EVERY_T, "ok"),
    case("overflow chain that loops", overflow_loop, "SELECT sum(length(hex(c))) FROM t", "ok", DAMAGED),
    case("freelist that loops", patched((32, struct.pack(">II", 3, 9999))), EVERY_T, "ok", DAMAGED),
    case(
        "root that is its own child", patched((PAGE, b"\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02")), ALL, DAMAGED
    ),
    case("pages that name one child a hundred times", fan, "SELECT count(*) FROM t", "timeout", DAMAGED),
    case("pages that name one child a hundred times, read", fan, "SELECT * FROM t WHERE b = 'x'", "timeout", DAMAGED),
    case(
        "pointer map broken",
        patched((PAGE, b"\xff" * 512), sql=f"PRAGMA auto_vacuum = 1; {PLAIN}"),
        EVERY_T,
        "ok",
        DAMAGED,
    ),
    case(
        "pointer map of an incremental one",
        patched((PAGE, b"\x05" * 512), sql=f"PRAGMA auto_vacuum = 2; {PLAIN}"),
        EVERY_T,
        "ok",
        DAMAGED,
    ),
    *(
        case(
            f"root page {root}",
            script(f"{PLAIN} PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = {root} WHERE name = 't'"),
            EVERY_T,
            *ANYTHING,
        )
        for root in (-1, 0, 1, 3, 999_999, "'x'", "NULL", 4_294_967_297)
    ),
]


def read_files() -> list[Hostile]:
    """The files whose building is SQL: `files/*.sql`, headers `file`, `expect` and `query`, then the SQL."""
    found = []
    for path in sorted(FILES.glob("*.sql")):
        _, *parts = re.split(r"^-- file: ", path.read_text(encoding="utf-8"), flags=re.M)
        for part in parts:
            name, expect, query, sql = part.split("\n", 3)
            outcomes = frozenset(expect.removeprefix("-- expect: ").split())
            found.append(Hostile(f"{path.stem}/{name}", script(sql), query.removeprefix("-- query: "), outcomes))
    return found


HOSTILE = DAMAGE + read_files()
