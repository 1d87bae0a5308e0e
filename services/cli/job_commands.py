"""Commands about jobs: thin calls of the gateway."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.terminal import FAILED, JsonOption, UrlOption, connect, console, print_json, read_text
from shared.errors import InvalidInputError

if TYPE_CHECKING:
    from shared.api.resources import Job
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
        data = bring_databases(client, data, Path() if str(spec) == "-" else spec.parent)
        job = client.submit(data, idempotency_key=idempotency_key)
        if watch:
            console(stderr=as_json).print(f"job {job.id}", markup=False)
            finish(client, job.id, as_json=as_json)
        elif as_json:
            print_json(job.model_dump(mode="json"))
        else:
            console().print(f"job {job.id} is {job.status}; watch it with: sense job {job.id} --watch", markup=False)


def read_spec(path: Path) -> dict[str, Any]:
    """The spec as plain data; what is wrong with it is the gateway's to say. Raises `InvalidInputError`."""
    from shared.parsing import read_yaml

    data = read_yaml(read_text(path, "spec").encode(), str(path))
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path} is no spec: it must be a mapping with at least `kind`")
    return data


def bring_databases(client: "SenseClient", data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The spec with `{file: F}` of its `databases` uploaded and named by id; files lie relative to the spec's folder.

    What else is wrong with them is the gateway's to say. Raises `InvalidInputError` for a file that cannot be used.
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
        path = folder / Path(one["file"]).expanduser()
        check_database_file(path)
        named.append({"id": client.upload_database(path).id})
    return {**data, "databases": named}


def finish(client: "SenseClient", job_id: str, *, as_json: bool) -> None:
    """Watches to the end and prints it; exit code 1 where the job did not succeed."""
    from services.cli.render import print_job
    from services.cli.watch import watch_job

    job = watch_job(client, job_id, console(stderr=as_json))
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        print_job(job, console())
    end(job)


def end(job: "Job") -> None:
    """Exit code 1 for a job that ended badly."""
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
    with connect(url) as client:
        found = list(client.jobs(kind=kind, status=status, owner=owner, limit=limit))
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
    elif not found:
        console().print("no jobs; submit one with: sense submit SPEC.yaml", markup=False)
    else:
        from services.cli.render import jobs_table

        console().print(jobs_table(found))


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
    from services.cli.render import print_event, print_job

    out = console()
    print_job(found, out)
    for event in listed:
        print_event(event, out)


@job_commands.command()
def cancel(job_id: JobId, url: UrlOption = None) -> None:
    """Cancel a job; what has finished is kept."""
    with connect(url) as client:
        found = client.cancel(job_id)
    console().print(f"job {found.id} is {found.status}", markup=False)


@job_commands.command()
def retry(job_id: JobId, url: UrlOption = None) -> None:
    """Run a failed or cancelled job's missing shards again."""
    with connect(url) as client:
        found = client.retry(job_id)
    console().print(f"job {found.id} is {found.status}; watch it with: sense job {found.id} --watch", markup=False)


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
            make_folder(download)
            for artifact in found:
                console(stderr=as_json).print(client.download(job_id, artifact.name, download), markup=False)
    if as_json:
        print_json([artifact.model_dump(mode="json") for artifact in found])
    elif download is None:
        from services.cli.render import artifacts_table

        console().print(artifacts_table(found) if found else f"job {job_id} has no artifacts yet")


def make_folder(path: Path) -> None:
    """Raises `InvalidInputError` where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"the folder {path} cannot be made: {error.strerror}") from error
