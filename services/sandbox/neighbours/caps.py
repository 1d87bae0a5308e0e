"""What bounds the neighbours of one database, however large the original is."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Caps:
    """Counts of rows and bytes. A larger table is subsampled, a larger schema is refused.

    `rows` and `bytes` hold over all tables; each table gets an equal part, at most `table_rows` and at least
    `least_rows`.
    """

    table_rows: int = 500
    least_rows: int = 20
    rows: int = 8_000
    bytes: int = 16_000_000
    tables: int = 400
    columns: int = 4_000
    constants: int = 200
    constant_chars: int = 200
    neighbours: int = 100

    def share(self, tables: int) -> int:
        """Rows that one of `tables` tables may have."""
        return max(self.least_rows, min(self.table_rows, self.rows // max(1, tables)))

    def to_json(self) -> str:
        """The form in which the child is given its caps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Caps":
        """Inverse of `to_json`."""
        return cls(**json.loads(text))
