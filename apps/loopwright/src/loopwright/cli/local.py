"""Commands about this machine: start the system, show it, write an example, look after it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from loopwright.client import PORTS
from loopwright.data_dir import Engine
from loopwright.examples import Example, write_example
from loopwright.output import Json, console, show_json

Engines = Annotated[
    Engine,
    typer.Option(
        help="embedded: every service in one process, on SQLite. "
        "kafka: each a process of its own, on a Kafka and a PostgreSQL from packages."
    ),
]
_MAX_REPLICAS = 9
DataDir = Annotated[Path, typer.Option(help="Where databases, events and artifacts are kept.")]


Replicas = Annotated[
    list[str] | None,
    typer.Option(help="With --engine kafka, several of a service, such as scorer=2."),
]


def up(
    data_dir: DataDir = Path(".loopwright"),
    engine: Engines = Engine.EMBEDDED,
    replicas: Replicas = None,
) -> None:
    """Run every service until interrupted."""
    if engine is Engine.KAFKA:
        from loopwright.fleet.main import main as main_of_fleet

        main_of_fleet(data_dir, _counted(replicas or []))
        return
    if replicas:
        raise typer.BadParameter("the embedded engine has one of each", param_hint="--replicas")
    from loopwright.embedded import main

    main(data_dir)


def demo(
    dir: Annotated[Path, typer.Option(help="Where the demo works and leaves its story.")] = Path(
        "demo-data"
    ),
    rows: Annotated[
        int | None, typer.Option(min=1000, help="Calls to make; all of them by default.")
    ] = None,
    engine: Engines = Engine.EMBEDDED,
) -> None:
    """Watch the loop close on real data: a bank's call centre, 2008 to 2010, in minutes."""
    from loopwright.demo import main

    raise typer.Exit(main(dir, rows, engine))


def init(
    dir: Annotated[Path, typer.Argument(help="A new directory.")],
    example: Annotated[Example, typer.Option(help="Which example.")] = Example.BANK,
    git: Annotated[bool, typer.Option("--git/--no-git", help="Make it a git repository.")] = True,
    as_json: Json = False,
) -> None:
    """Write an example repository as a starting point."""
    commit = write_example(example, dir, git=git)
    if as_json:
        show_json({"directory": str(dir), "example": example.value, "commit": commit})
        return
    console.print(f"wrote {dir}" + (f", commit {commit[:8]}" if commit else ""), markup=False)
    if commit:
        console.print(f"next: loopwright repositories add {dir.name} {dir}", markup=False)


def doctor(data_dir: DataDir = Path(".loopwright"), as_json: Json = False) -> None:
    """Check the services and what they need of this machine."""
    from loopwright.doctor import examine, show

    findings = examine(data_dir)
    show(findings, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "bad" for finding in findings) else 0)


def _counted(replicas: Sequence[str]) -> dict[str, int]:
    """How many of each service are wanted."""
    counts = {}
    for option in replicas:
        service, _, count = option.partition("=")
        if service not in PORTS or not count.isdigit() or not 1 <= int(count) <= _MAX_REPLICAS:
            known = ", ".join(PORTS)
            raise typer.BadParameter(
                f"{option!r} is not SERVICE=COUNT with 1 to {_MAX_REPLICAS} of one of {known}",
                param_hint="--replicas",
            )
        counts[service] = int(count)
    return counts
