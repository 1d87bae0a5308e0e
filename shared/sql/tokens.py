"""SQL as stretches of text: blanks, comments, quoted things, words. Nothing here decides what a statement means.

Light: the sandbox's children import it.
"""

import re
from collections.abc import Iterator

# Blank is what SQLite takes for blank. A no-break space is a letter to it, so that `;` and one of those is a second
# statement; a byte order mark is blank wherever it stands.
COMMENT = r"(?P<comment>--[^\n]*|/\*(?:(?!\*/).)*(?:\*/|\Z))"
QUOTED = (
    r"(?P<quoted>'[^']*(?:''[^']*)*(?:'|\Z)|\"[^\"]*(?:\"\"[^\"]*)*(?:\"|\Z)"
    r"|`[^`]*(?:``[^`]*)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"
)
TOKEN = re.compile(rf"{COMMENT}|{QUOTED}|(?P<blank>[ \t\n\f\r\ufeff]+)|(?P<word>\w+)|(?P<other>.)", re.DOTALL)
# The same where quotes that are never closed, and apostrophes inside words, are none: for SQL with prose around it. A
# comment's length is bounded, so that texts full of unclosed ones are not searched to their end from each of them.
CLOSED = re.compile(
    r"(?P<comment>--[^\n]*+|/\*(?:[^*]|\*(?!/)){0,2000}+\*/)"
    r"|(?P<quoted>(?<!\w)'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|`[^`\n]++`|\[[^\[\]\n]*+\])"
)
# The stretches whose content is no SQL, for those who need no more: several times quicker.
OPAQUE = re.compile(f"{COMMENT}|{QUOTED}", re.DOTALL)


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """(kind, text) for every stretch of the text; the texts joined give the whole back."""
    for match in TOKEN.finditer(sql):
        yield str(match.lastgroup), match.group()
