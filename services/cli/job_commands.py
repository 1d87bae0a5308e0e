"""Commands about jobs: submit, list, show, cancel, retry, and fetch artifacts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.terminal import FAILED, JsonOption, UrlOption, connect, console, print_json, read_text, say, show_list
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from shared.client.client import SenseClient

job_commands = typer.Typer()
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id; see: sense jobs")]


@job_commands.command()
def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="The job's spec; - reads standard input.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show the job until it ends.")] = False,
    as_json: JsonOption = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and spec give the same job, for 24 hours.")
    ] = None,
    url: UrlOption = None,
) -> None:
    """Submit a job."""
    data = read_spec(spec)
    with connect(url) as client:
        data = upload_databases(client, data, Path() if str(spec) == "-" else spec.parent)
        job = client.submit(data, idempotency_key=idempotency_key)
        if watch:
            # With --json, standard output holds nothing but the JSON.
            say(f"job {job.id}", stderr=as_json)
            finish(client, job.id, as_json=as_json)
        elif as_json:
            print_json(job.model_dump(mode="json"))
        else:
            say(f"job {job.id} is {job.status}; watch it with: sense job {job.id} --watch")


def read_spec(path: Path) -> dict[str, Any]:
    """The spec as plain data; the gateway validates it. Raises `InvalidInputError` if it is no mapping."""
    from shared.parsing import read_yaml

    data = read_yaml(read_text(path, "spec").encode(), str(path))
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path} is no spec: it must be a mapping with at least `kind`")
    return data


def upload_databases(client: "SenseClient", data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Uploads every `{file: F}` in `databases` and replaces it by its id; paths are relative to `folder`.

    Raises `InvalidInputError` for a file that cannot be used; the gateway validates the rest.
    """
    from services.sandbox.execution.database_files import check_database_file

    listed = data.get("databases")
    if not isinstance(listed, list):
        return data
    named: list[Any] = []
    for one in listed:
        if not isinstance(one, dict) or "file" not in one:
            named.append(one)
            continue
        if set(one) != {"file"} or not isinstance(one["file"], str):
            raise InvalidInputError("an entry of databases is {file: PATH} or {id: SHA256}, and nothing beside it")
        # Relative to the spec's folder, wherever the command runs.
        path = folder / Path(one["file"]).expanduser()
        # Before the upload, so that errors name the path.
        check_database_file(path)
        named.append({"id": client.upload_database(path).id})
    return {**data, "databases": named}


def finish(client: "SenseClient", job_id: str, *, as_json: bool) -> None:
    """Watches a job until it ends and prints it; exits with 1 unless it succeeded."""
    from services.cli.render import job_view
    from services.cli.watch import watch_job

    job = watch_job(client, job_id, console(stderr=as_json))
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        say(job_view(job))
    if job.status in ("failed", "cancelled"):
        raise typer.Exit(FAILED)


@job_commands.command()
def jobs(
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only those of this key, by its name or id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List jobs, newest first."""
    from services.cli.render import jobs_table

    with connect(url) as client:
        found = list(client.jobs(kind=kind, status=status, owner=owner, limit=limit))
    show_list(found, as_json, "no jobs; submit one with: sense submit SPEC.yaml", jobs_table)


@job_commands.command()
def job(
    job_id: JobId,
    events: Annotated[bool, typer.Option("--events", help="Print the job's events too.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the job until it ends.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Look at a job."""
    with connect(url) as client:
        if watch:
            finish(client, job_id, as_json=as_json)
            return
        found = client.job(job_id)
        listed = list(client.events(job_id)) if events else []
    if as_json:
        more = {"events": [event.model_dump(mode="json") for event in listed]} if events else {}
        print_json({**found.model_dump(mode="json"), **more})
        return
    from services.cli.render import event_line, job_view

    say(job_view(found))
    for event in listed:
        say(event_line(event))


@job_commands.command()
def cancel(job_id: JobId, url: UrlOption = None) -> None:
    """Cancel a job; what has finished is kept."""
    with connect(url) as client:
        found = client.cancel(job_id)
    say(f"job {found.id} is {found.status}")


@job_commands.command()
def retry(job_id: JobId, url: UrlOption = None) -> None:
    """Run a failed or cancelled job's missing shards again."""
    with connect(url) as client:
        found = client.retry(job_id)
    say(f"job {found.id} is {found.status}; watch it with: sense job {found.id} --watch")


@job_commands.command()
def artifacts(
    job_id: JobId,
    name: Annotated[str | None, typer.Argument(help="Only this artifact.")] = None,
    download: Annotated[Path | None, typer.Option(metavar="DIR", help="Save them in this folder.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List a job's artifacts, or save them."""
    with connect(url) as client:
        found = [artifact for artifact in client.artifacts(job_id) if name in (None, artifact.name)]
        if name is not None and not found:
            raise InvalidInputError(f"job {job_id} has no artifact {name}; list them with: sense artifacts {job_id}")
        if download is not None:
            try:
                download.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidInputError(f"the folder {download} cannot be made: {error.strerror}") from error
            for artifact in found:
                say(client.download(job_id, artifact.name, download), stderr=as_json)
    if as_json or download is None:
        from services.cli.render import artifacts_table

        show_list(found, as_json, f"job {job_id} has no artifacts yet", artifacts_table)
