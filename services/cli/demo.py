"""`sense demo`: the main job end to end on the embedded stack, and its report at the end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.stack.commands import show_addresses
from services.cli.terminal import FAILED, INTERRUPTED, api_key, console, say
from shared.errors import SenseError

if TYPE_CHECKING:
    from services.cli.stack.config import StackFile
    from shared.client.client import SenseClient
    from shared.contracts.spec import AnySpec

demo_commands = typer.Typer()
SPEC = Path(__file__).parents[2] / "infra" / "local" / "demo.yaml"
REPORT_FORMS = ("html", "md", "json", "txt")


@contextmanager
def demo_stack(keep: bool) -> "Iterator[StackFile]":
    """Yields the stack of the demo: a running one stays up, one started here is stopped at the end unless `keep`."""
    from services.cli.stack.config import state_folder
    from services.cli.stack.manager import running_stack, start_stack, stop_stack

    state = state_folder()
    found = running_stack(state)
    stack, started = (found, False) if found else start_stack(state, lambda text: None)
    try:
        yield stack
    finally:
        if started and not keep:
            stop_stack(state)


def prepare_base(spec: "AnySpec") -> None:
    """Converts the small model while the first stages run; a stage that needs it earlier waits for the same lock."""
    from shared.contracts.spec import PipelineSpec
    from shared.models.bases import resolve_base
    from shared.settings import PathSettings

    base = spec.student.base if isinstance(spec, PipelineSpec) else ""
    if base.startswith("builtin:"):
        with suppress(SenseError):  # the stage that needs it reports the error
            resolve_base(base, PathSettings().bases)


def save_report(job_id: str, client: "SenseClient", folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in REPORT_FORMS:
        client.download(job_id, f"report.{suffix}", folder / f"report.{suffix}")
    return folder


@demo_commands.command()
def demo(
    spec: Path = typer.Option(SPEC, help="The spec to run instead of the demo's own.", show_default=False),
    keep: bool = typer.Option(
        False, "--keep", envvar="KEEP", help="Leave the stack up with the promoted model served; also KEEP=1."
    ),
) -> None:
    """Run the main job: data, SFT, pairs, DPO, an endpoint, a report."""
    from services.cli.job_commands import read_spec
    from services.cli.stack.config import state_folder
    from services.cli.watch import watch_job
    from shared.client.client import SenseClient
    from shared.contracts.spec import parse_spec

    begin = time.monotonic()
    data = read_spec(spec)
    parsed = parse_spec(data)  # an error shows before the stack starts
    state = state_folder()
    threading.Thread(target=prepare_base, args=(parsed,), daemon=True).start()
    with demo_stack(keep) as stack, SenseClient(stack.gateway_url, api_key=api_key()) as client:
        say(f"the stack is up after {time.monotonic() - begin:.1f} s; the job begins")
        show_addresses(stack)
        job = client.submit(data)
        try:
            ended = watch_job(client, job.id, console(), goes_on=False)
        except KeyboardInterrupt:
            client.cancel(job.id)
            say(f"job {job.id} was cancelled; what it finished is kept")
            raise typer.Exit(INTERRUPTED) from None
        if ended.status != "succeeded":
            reason = ended.error.message if ended.error else ended.status
            say(f"the demo's job {job.id} ended as {ended.status}: {reason}")
            raise typer.Exit(FAILED)
        folder = save_report(job.id, client, state / "reports" / job.id)
        say((folder / "report.txt").read_text())
        say(f"The whole report: {folder / 'report.html'}")
        say(f"From start to report: {(time.monotonic() - begin) / 60:.1f} minutes")
        if keep:
            say('The stack stays up. Ask the model: sense ask --db FILE.sqlite "your question"')
