"""`sense up`, `sense down`, `sense status`: the embedded stack."""

import os
import time
from typing import TYPE_CHECKING

import typer

from services.cli.terminal import console, say

if TYPE_CHECKING:
    from services.cli.stack.config import StackFile

stack_commands = typer.Typer()
LOW_BYTES = 100_000_000


def show_addresses(stack: "StackFile") -> None:
    say(f"Console   {stack.gateway_url}/")
    say(f"REST API  {stack.gateway_url}  (described by {stack.gateway_url}/openapi.json)")
    say(f"Flower    {stack.flower_url}  (make flower says how to get in)")
    say(f"Logs      {stack.state / 'logs'}")


def show_moved(stack: "StackFile") -> None:
    from services.cli.stack.config import DEFAULT_PORTS
    from services.cli.terminal import stack_at

    usual, own = DEFAULT_PORTS["gateway"], stack.ports["gateway"]
    if own == usual or "SENSE_PORT_GATEWAY" in os.environ:
        return
    whose = "another folder's stack" if stack_at(f"http://127.0.0.1:{usual}") else "another program"
    say(f"port {usual} is taken by {whose}: this stack's gateway is at port {own}")


@stack_commands.command()
def up() -> None:
    """Start the local stack: Redis, workers, orchestrator, gateway, engine, sandbox, Flower."""
    from services.cli.stack.config import state_folder
    from services.cli.stack.manager import running_stack, start_stack

    state = state_folder()
    if (stack := running_stack(state)) is not None:
        say("the stack is up already")
        show_addresses(stack)
        return
    begin = time.monotonic()
    with console().status("starting the stack") as status:
        stack, started = start_stack(state, status.update)
    if started:
        say(f"the stack is up after {time.monotonic() - begin:.1f} s; stop it with: sense down")
    else:
        say("another sense started the stack meanwhile")
    show_moved(stack)
    show_addresses(stack)


@stack_commands.command()
def down() -> None:
    """Stop the local stack; nothing is left behind, and finished work stays."""
    from services.cli.stack.config import state_folder
    from services.cli.stack.manager import stop_stack

    with console().status("stopping the stack"):
        stopped = stop_stack(state_folder())
    say("the stack is down" if stopped else "no stack was running")


@stack_commands.command()
def status() -> None:
    """Show what runs, since when, and where it logs. Exit code 3 where no stack is up."""
    from rich.table import Table

    from services.cli.stack.config import state_folder
    from services.cli.stack.manager import free_space, program_states, running_stack

    stack = running_stack(state_folder())
    if stack is None:
        say("no stack is up; start it with: sense up")
        raise typer.Exit(3)
    table = Table("process", "state", "pid", "since")
    for program in program_states(stack):
        table.add_row(program.name, program.state, str(program.pid or ""), program.uptime)
    say(table)
    show_addresses(stack)
    if (free := free_space(stack.state)) < LOW_BYTES:
        low = f"only {free // 1_000_000} MB are free under {stack.state}"
        say(f"{low}; work waits on a full disk: free some")
