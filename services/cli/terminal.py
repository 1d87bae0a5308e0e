"""What all commands share: where the gateway is, how errors end, how JSON is printed."""

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.errors import InvalidInputError, SenseError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel
    from rich.console import Console

    from shared.client.client import SenseClient

DEFAULT_URL = "http://127.0.0.1:8100"
FAILED, BAD_INPUT, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="The gateway; default: SENSE_URL, else the running stack's.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def gateway_url(given: str | None) -> str:
    """The option, else SENSE_URL, else the running stack's own, else the default port of this machine."""
    return given or os.environ.get("SENSE_URL") or stack_url() or DEFAULT_URL


def stack_url() -> str | None:
    """What `sense up` wrote down, where it runs from this folder."""
    try:
        state = json.loads((Path(os.environ.get("SENSE_STATE", ".sense")) / "stack.json").read_text(encoding="utf-8"))
        url = state["gateway_url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None


def api_key() -> str | None:
    """SENSE_API_KEY, else the operator's own key where this shell has it."""
    return os.environ.get("SENSE_API_KEY") or os.environ.get("SENSE_ADMIN_KEY")


def connect(given: str | None) -> "SenseClient":
    """A client of the gateway."""
    from shared.client.client import SenseClient

    return SenseClient(gateway_url(given), api_key=api_key())


def console(*, stderr: bool = False) -> "Console":
    """Text for people: colours only on a terminal; a pipe gets whole lines."""
    from rich.console import Console

    out = Console(stderr=stderr, highlight=False)
    return out if out.is_terminal else Console(stderr=stderr, highlight=False, width=200, soft_wrap=True)


@cache
def screen() -> "Console":
    """Where the stack's commands speak: whole lines, nothing highlighted."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def show_list(found: "Sequence[BaseModel]", as_json: bool, none: str, table: "Callable[[Any], Any]") -> None:
    """A list of the gateway's: as JSON, as a table, or the sentence that says how to get a first one."""
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
    elif not found:
        console().print(none, markup=False)
    else:
        console().print(table(found))


def exit_code(error: SenseError) -> int:
    """3 where the stack cannot be reached, 1 for its own failures, 2 for what the user gave."""
    if isinstance(error, UnavailableError):
        return UNREACHABLE
    return BAD_INPUT if error.http_status < 500 else FAILED


def complain(error: SenseError) -> None:
    """The sentence, and every fault on a line of its own."""
    faults = getattr(error, "faults", None)
    if not faults:
        sys.stderr.write(f"sense: {error.message}\n")
        return
    sys.stderr.write(f"sense: {error.message.split(':', 1)[0]}:\n")
    for fault in faults:
        path, message = (fault["path"], fault["message"]) if isinstance(fault, dict) else (fault.path, fault.message)
        sys.stderr.write(f"  {path}: {message}\n")


def read_text(path: Path, what: str) -> str:
    """A file of the user's, `-` for standard input. Raises `InvalidInputError`."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInputError(f"there is no {what} at {path}; check the path") from None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"the {what} {path} cannot be read: {error}") from error
