"""SQLite's SQL as another system would be asked, for people to read: never run, never trained on."""

from shared.errors import InvalidInputError
from shared.sql.parser import parse_sql, write_sql


def check_dialect(name: str) -> str:
    """sqlglot's name of it. Raises InvalidInputError naming those that there are."""
    from sqlglot.dialects.dialect import Dialect

    known = sorted(one for one in Dialect.classes if one)
    if name.lower() not in known:
        raise InvalidInputError(f"there is no dialect {name!r}; there are: {', '.join(known)}", code="unknown_dialect")
    return name.lower()


def display(sql: str, dialect: str) -> tuple[str | None, str | None]:
    """The statement in the dialect, and a warning: what sqlglot cannot read stays untranslated."""
    from sqlglot.errors import SqlglotError

    try:
        written = [write_sql(tree, dialect) for tree in parse_sql(sql)]
    except SqlglotError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return None, f"the SQL cannot be shown in {dialect}: {first}"
    return "; ".join(written), None
