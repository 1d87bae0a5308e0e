"""`sense doctor`."""

import typer

from services.cli.terminal import FAILED, JsonOption, console, print_json

doctor_commands = typer.Typer()
MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("wrong", "red")}


@doctor_commands.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look at this machine and the stack: what is wrong, and how to mend it. Exit code 1 where something is."""
    from services.cli.doctor import machine, stack
    from services.cli.doctor.findings import run_checks

    findings = run_checks(
        {
            "Python": machine.check_python,
            "memory": machine.check_memory,
            "disk": machine.check_disk,
            "GPU": machine.check_gpu,
            "packages": machine.check_packages,
            "sandbox child": machine.check_sandbox,
            "ports": stack.check_ports,
            "Redis": stack.check_redis,
            "object store": stack.check_store,
            "gateway": stack.check_gateway,
            "workers": stack.check_workers,
            "endpoints": stack.check_endpoints,
        }
    )
    found = []
    out = console()
    for one in findings:
        found.append(one)
        if not as_json:
            word, colour = MARKS[one.grade]
            out.print(f"[{colour}]{word:>5}[/]  ", end="")
            out.print(f"{one.subject}: {one.said}", markup=False)
            if one.remedy:
                out.print(f"       → {one.remedy}", markup=False)
    if as_json:
        print_json([one.as_json() for one in found])
    if any(one.grade == "wrong" for one in found):
        raise typer.Exit(FAILED)
