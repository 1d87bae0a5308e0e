"""Commands about API keys: create, list, change and remove them."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.terminal import JsonOption, UrlOption, connect, print_json, say, show_list
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from shared.api.resources import KeyLimits

key_commands = typer.Typer(help="Keys of the gateway: list them, make one, remove one.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="For people: whose key it is.")]
PerMinute = Annotated[int | None, typer.Option(min=1, help="Calls a minute; default: the server's.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Jobs that are not over, at once.")]
Examples = Annotated[int | None, typer.Option(min=1, help="Examples that one job asks for.")]
UsdPerDay = Annotated[float | None, typer.Option(min=0, help="Dollars a day (UTC) at endpoints.")]
TokensPerDay = Annotated[int | None, typer.Option(min=0, help="Tokens a day (UTC) at endpoints.")]
StoredBytes = Annotated[int | None, typer.Option(min=0, help="Bytes of its databases and datasets.")]


@key_commands.callback(invoke_without_command=True)
def keys(context: typer.Context, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """List keys, without their texts; or make one, or remove one."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.render import keys_table

    with connect(url) as client:
        found = client.keys()
    show_list(
        found, as_json, "no keys, so every program here may call; first: sense keys add ME --role admin", keys_table
    )


@key_commands.command()
def add(
    name: Name,
    role: Annotated[
        Literal["metrics", "read", "submit", "admin"], typer.Option(help="What its holder may do.")
    ] = "submit",
    per_minute: PerMinute = None,
    jobs: Jobs = None,
    examples: Examples = None,
    usd_per_day: UsdPerDay = None,
    tokens_per_day: TokensPerDay = None,
    stored_bytes: StoredBytes = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Make a key. It is shown this once. The first has to be an admin's, and from then on callers need keys."""
    from shared.api.resources import KEY_NAME

    if not re.fullmatch(KEY_NAME, name):
        raise InvalidInputError(f"{name!r} cannot name a key; use small letters, digits and . _ - (at most 64)")
    limits = key_limits(jobs, examples, usd_per_day, tokens_per_day, stored_bytes)
    with connect(url) as client:
        made = client.add_key(name, role=role, per_minute=per_minute, limits=limits)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    # Alone on standard output, so that a script can capture it.
    say(made.key)
    say(
        f"key {made.name} ({made.role}, {made.per_minute} calls a minute); it is not shown again. "
        "Use it: export SENSE_API_KEY=…",
        stderr=True,
    )


@key_commands.command()
def change(
    name: Name,
    per_minute: PerMinute = None,
    jobs: Jobs = None,
    examples: Examples = None,
    usd_per_day: UsdPerDay = None,
    tokens_per_day: TokensPerDay = None,
    stored_bytes: StoredBytes = None,
    url: UrlOption = None,
) -> None:
    """Change what a key may use; what is not named stays, and so does what the key owns."""
    from shared.api.resources import KeyChange

    limits = key_limits(jobs, examples, usd_per_day, tokens_per_day, stored_bytes)
    # A field that is left out keeps its value; null would change it.
    named = KeyChange(limits=limits) if per_minute is None else KeyChange(limits=limits, per_minute=per_minute)
    with connect(url) as client:
        client.change_key(name, named)
    say(f"key {name} has its new limits; see: sense keys")


@key_commands.command()
def remove(name: Name, url: UrlOption = None) -> None:
    """Remove a key; it is refused within two seconds."""
    with connect(url) as client:
        client.remove_key(name)
    say(f"key {name} is gone")


def key_limits(*given: float | None) -> "KeyLimits":
    """Only the limits that are named: the server treats null differently from a limit that is left out."""
    from shared.api.resources import KeyLimits

    names = ("jobs", "examples", "usd_per_day", "tokens_per_day", "stored_bytes")
    named = zip(names, given, strict=True)
    return KeyLimits.model_validate({limit: value for limit, value in named if value is not None})
