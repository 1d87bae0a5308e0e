"""A schema with a key that two foreign keys share, for hand cases."""

from typing import Any

from shared.sql.spider.schema import SpiderSchema

ENTRY: dict[str, Any] = {
    "db_id": "air",
    "table_names_original": ["Airport", "Flight", "Staff"],
    "column_names_original": [
        [-1, "*"],
        [0, "Code"],
        [0, "City"],
        [1, "Id"],
        [1, "Source"],
        [1, "Dest"],
        [1, "value"],
        [2, "Id"],
        [2, "Airport"],
        [2, "Name"],
        [2, "Age"],
    ],
    "foreign_keys": [[4, 1], [5, 1], [8, 1]],
}
AIR = SpiderSchema.from_tables_json(ENTRY)
