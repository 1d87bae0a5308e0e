"""Spider's hardness of a SQL on the database that a schema card describes."""

from shared.sql.card import SchemaCard
from shared.sql.spider.hardness import MeasuredHardness, measured_hardness
from shared.sql.spider.schema import SpiderSchema

OUR_LEVEL = {"easy": "easy", "medium": "medium", "hard": "hard", "extra": "hard", "beyond_spider": "hard"}


def spider_schema(card: SchemaCard) -> SpiderSchema:
    """The schema as the official evaluator reads it from a file."""
    return SpiderSchema.from_listing({table.name: [column.name for column in table.columns] for table in card.tables})


def measure(sql: str, card: SchemaCard) -> MeasuredHardness:
    """Spider's level; `beyond_spider` where its grammar cannot read the SQL."""
    return measured_hardness(sql, spider_schema(card))


def as_asked(level: str, measured: str) -> bool:
    """Whether a measured level is the one that was asked for; ours has no level above hard."""
    return OUR_LEVEL.get(measured) == level
