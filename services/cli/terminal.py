"""What all commands share: which gateway they call, how they print, and how errors end."""

import json
import os
import sys
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
PROBE_S = 5.0
FAILED, BAD_INPUT, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="The gateway; default: SENSE_URL, else this folder's stack.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
# This call's gateway, if it is neither this folder's stack nor named on the command line: errors then name it.
unnamed_gateway: list[str] = []


def gateway_url(given: str | None) -> str:
    """The option, else SENSE_URL, else this folder's stack, else a gateway on the default port that no folder owns.

    Raises `UnavailableError` if nothing answers, or only the stack of another folder.
    """
    unnamed_gateway.clear()
    if given:
        return given
    if named := os.environ.get("SENSE_URL"):
        unnamed_gateway.append(named)
        return named
    state = Path(os.environ.get("SENSE_STATE", ".sense")).absolute()
    own = own_stack(state)
    url, own_id = own or (DEFAULT_URL, "")
    answer = stack_at(url)
    if answer is None:
        where = f"the stack of {state} does not answer at {url}" if own else f"no stack of {state} is up"
        raise UnavailableError(f"{where}; start it: sense up, or name a gateway: --url or SENSE_URL")
    if answer != own_id:
        raise UnavailableError(
            f"no stack of {state} is up, and the one at {url} belongs to another folder; "
            f"start this one: sense up, or name that one: --url {url}"
        )
    if not own:
        unnamed_gateway.append(url)
        sys.stderr.write(
            f"sense: no stack of {state} is up; asking the gateway at {url} (SENSE_URL names one for good)\n"
        )
    return url


def own_stack(state: Path) -> tuple[str, str] | None:
    """Address and id of the stack that this folder describes, running or not; None without a valid description."""
    try:
        found = json.loads((state / "stack.json").read_text(encoding="utf-8"))
        url, own, where = found["gateway_url"], found.get("id", ""), found["state"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (str(url), str(own)) if where == str(state) else None


def stack_at(url: str) -> str | None:
    """The id of the stack whose gateway answers; empty if no `sense up` started it, None if nothing answers."""
    import urllib.request
    from http.client import HTTPException

    # Bypass any proxy of the environment: the gateway is usually on this machine.
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with ask.open(f"{url}/healthz", timeout=PROBE_S) as answer:
            # Bounded, since any program may answer at this address.
            said = json.loads(answer.read(10_000))
    except (OSError, ValueError, HTTPException):
        return None
    return str(said.get("stack", "")) if isinstance(said, dict) and said.get("status") == "ok" else None


def api_key() -> str | None:
    return os.environ.get("SENSE_API_KEY") or os.environ.get("SENSE_ADMIN_KEY")


def connect(given: str | None) -> "SenseClient":
    from shared.client.client import SenseClient

    return SenseClient(gateway_url(given), api_key=api_key())


def console(*, stderr: bool = False) -> "Console":
    """Where text for people goes: colours only on a terminal; a pipe gets whole lines."""
    from rich.console import Console

    out = Console(stderr=stderr, highlight=False)
    return out if out.is_terminal else Console(stderr=stderr, highlight=False, width=200, soft_wrap=True)


def say(*parts: object, stderr: bool = False) -> None:
    """Prints text or tables for people; plain text goes out unchanged, without markup, emoji codes or line breaks."""
    plain = all(isinstance(part, str) for part in parts)
    console(stderr=stderr).print(*parts, markup=False, emoji=False, soft_wrap=plain or None)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def show_list(found: "Sequence[BaseModel]", as_json: bool, none: str, table: "Callable[[Any], Any]") -> None:
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        say(table(found) if found else none)


def exit_code(error: SenseError) -> int:
    """3 if the stack cannot be reached, 1 if it failed, 2 for bad input."""
    if isinstance(error, UnavailableError):
        return UNREACHABLE
    return BAD_INPUT if error.http_status < 500 else FAILED


def print_error(error: SenseError) -> None:
    faults = getattr(error, "faults", None)
    sys.stderr.write(f"sense: {error.message.split(':', 1)[0]}:\n" if faults else f"sense: {error.message}\n")
    for fault in faults or ():
        path, message = (fault["path"], fault["message"]) if isinstance(fault, dict) else (fault.path, fault.message)
        sys.stderr.write(f"  {path}: {message}\n")
    if unnamed_gateway and unnamed_gateway[-1] not in error.message:
        sys.stderr.write(f"sense: the gateway was {unnamed_gateway[-1]}\n")


def read_text(path: Path, what: str) -> str:
    """The text of a file; `-` reads standard input. Raises `InvalidInputError`."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInputError(f"there is no {what} at {path}; check the path") from None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"the {what} {path} cannot be read: {error}") from error
