"""Every number that bounds hostile SQL, in one place."""

import json
import math
from dataclasses import asdict, dataclass

from shared.errors import InvalidInputError

FILE_BYTES = 4 * 1024**3  # larger than every database of Spider and BIRD dev; files are read page by page
FLUSH_S = 0.002  # how long a child may hold back the answers of quick statements


@dataclass(frozen=True)
class Limits:
    """Budgets of one query and limits of one child. Times are wall-clock seconds, sizes are bytes.

    `heap_bytes` is SQLite's hard limit; `address_space_bytes` bounds the whole child behind it. With
    `require_walls`, a child that lacks a wall of the kernel serves nothing. `text_errors` decides what happens to text
    that is not UTF-8: `replace` marks it, `strict` gives `decode_error`. `value_bytes` bounds the values that a query
    makes. Stored values may be larger: when a query meets one, the bound rises to the file's size, up to
    `stored_value_bytes`.
    """

    deadline_s: float = 2.0
    gold_deadline_s: float = 10.0
    build_deadline_s: float = 10.0
    grace_s: float = 0.3
    start_s: float = 20.0
    max_rows: int = 100_000
    max_bytes: int = 32_000_000
    max_cell_chars: int = 1_000
    max_arrangements: int = 120
    sql_bytes: int = 100_000
    value_bytes: int = 1_000_000
    stored_value_bytes: int = 64_000_000
    heap_bytes: int = 256 * 1024 * 1024
    address_space_bytes: int = 1024 * 1024 * 1024
    file_bytes: int = FILE_BYTES
    open_files: int = 32
    open_databases: int = 8
    expression_depth: int = 200
    compound_terms: int = 50
    like_pattern_bytes: int = 200
    progress_steps: int = 2_000
    text_errors: str = "replace"
    build_script_bytes: int = 8_000_000
    build_file_bytes: int = 32 * 1024 * 1024
    build_rows: int = 100_000
    build_tables: int = 200
    require_walls: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Limits":
        return cls(**json.loads(text))


def checked_deadline(deadline_s: float) -> float:
    """Return the deadline. Raises InvalidInputError unless it is a positive finite number of seconds."""
    if not math.isfinite(deadline_s) or deadline_s <= 0:
        raise InvalidInputError(f"The deadline is {deadline_s} s; give a number of seconds above 0.")
    return deadline_s
