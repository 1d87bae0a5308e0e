"""How `sense ask` shows an answer to people."""

from services.cli.render import rows_table
from services.cli.terminal import console
from shared.api.sql import SqlAnswer

RAN = ("ok", "empty", None)


def show_answer(answer: SqlAnswer) -> None:
    """The SQL and its rows on standard output; what is said about them on standard error."""
    out, beside = console(), console(stderr=True)
    for warning in answer.warnings:
        beside.print(f"note: {warning}", markup=False)
    if answer.repaired is not None:
        beside.print(f"repaired; before: {answer.repaired.sql or 'no SQL'} ({answer.repaired.outcome})", markup=False)
    if answer.sql is None:
        said = answer.samples[0].answer if answer.samples else ""
        out.print(f"{answer.model} wrote no SQL; its answer:\n{said}", markup=False)
        return
    out.print(answer.sql, markup=False)
    if answer.display_sql:
        out.print(f"\nIn {answer.dialect}:\n{answer.display_sql}\n", markup=False)
    if answer.outcome not in RAN:
        out.print(f"{answer.outcome}: {answer.message}", markup=False)
    elif answer.result is not None:
        show_rows(answer)
    beside.print(summary(answer), markup=False)


def show_rows(answer: SqlAnswer) -> None:
    """The rows and their number."""
    result, out = answer.result, console()
    assert result is not None
    if result.columns and result.rows:
        out.print(rows_table(result.columns, result.rows))
    more = ", cut" if result.truncated else ""
    out.print(f"{result.row_count} row(s){more}, {result.elapsed_ms:.0f} ms", markup=False)


def summary(answer: SqlAnswer) -> str:
    """Who answered, and how sure the samples are."""
    text = f"{answer.model}, {answer.tokens.completion} tokens, {answer.elapsed_ms / 1000:.1f} s"
    if answer.vote is None:
        return text
    best = next((one for one in answer.samples if one.sql == answer.sql), None)
    drawn = sum(one.count for one in answer.samples)
    return f"{text}; {best.votes if best else 0} of {drawn} samples agree by {answer.vote}"
