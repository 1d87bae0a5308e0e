"""Commands about data sets: list them, look at one with its golds' health, browse its examples."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.terminal import JsonOption, UrlOption, connect, console, print_json, show_list

if TYPE_CHECKING:
    from rich.console import Console

    from shared.api.resources import Dataset

dataset_commands = typer.Typer(help="Data sets of the stack: list them, look at one. Bring one with: sense import.")


@dataset_commands.callback(invoke_without_command=True)
def datasets(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List data sets, newest first; or show one."""
    if context.invoked_subcommand is not None:
        return
    from services.cli.render import datasets_table

    with connect(url) as client:
        found = list(client.datasets(limit=limit))
    show_list(found, as_json, "no data sets; bring one with: sense import FORMAT PATH --name N", datasets_table)


@dataset_commands.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set's name, or NAME@VERSION.")],
    url: UrlOption = None,
) -> None:
    """Remove a data set, or one version of it; its databases stay."""
    plain, _, version = name.partition("@")
    with connect(url) as client:
        client.remove_dataset(plain, version=version or None)
    console().print(f"data set {name} is gone", markup=False)


@dataset_commands.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set's name, or NAME@VERSION.")],
    examples: Annotated[int, typer.Option(min=0, help="Show so many examples too.")] = 0,
    split: Annotated[str | None, typer.Option(help="Examples of this split only.")] = None,
    hardness: Annotated[str | None, typer.Option(help="Examples of this hardness only.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Look at a data set: counts, licence, sources, versions, and how its golds ran."""
    plain, _, version = name.partition("@")
    with connect(url) as client:
        found = client.dataset(plain, version=version or None)
        rows = list(
            client.dataset_examples(plain, version=found.version, split=split, hardness=hardness, limit=examples)
        )
    if as_json:
        shown = [row.model_dump(mode="json") for row in rows]
        print_json({**found.model_dump(mode="json"), **({"examples": shown} if examples else {})})
        return
    out = console()
    print_dataset(found, out)
    for row in rows:
        place = f"{row.index} ({row.domain}, {row.split}, {row.hardness or 'hardness not stated'})"
        out.print(f"\n{place}: {row.question}", markup=False)
        if row.evidence:
            out.print(f"  evidence: {row.evidence}", markup=False)
        out.print(f"  {row.gold}", markup=False)


def print_dataset(found: "Dataset", out: "Console") -> None:
    """A data set for people."""
    from services.cli.import_commands import health_lines

    counts = ", ".join(f"{split} {count}" for split, count in found.splits.items())
    lines = [
        f"data set {found.name}@{found.version}: {found.questions} questions ({counts}), {found.databases} databases",
        f"format {found.format}, official policy {found.policy.value}, {found.licence}",
        f"published version: {found.release or 'unknown'}",
        *(f"{name}: SHA-256 {sha}" for name, sha in found.sources.items()),
        *(
            f"hardness, {split}: " + ", ".join(f"{name} {count}" for name, count in levels.items())
            for split, levels in found.hardness.items()
        ),
    ]
    if found.skipped:
        lines.append(f"left out at the import: {sum(found.skipped.values())} questions on missing databases")
    lines += [f"note: {note}" for note in found.notes]
    lines += health_lines(found.health) if found.health else []
    others = [one.version for one in found.versions if one.version != found.version]
    lines += [f"other versions: {', '.join(others)}"] if others else []
    for line in lines:
        out.print(line, markup=False)
