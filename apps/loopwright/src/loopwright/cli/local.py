"""Commands about this machine: start the system, show it, write an example, look after it."""

from pathlib import Path
from typing import Annotated

import typer

from loopwright.examples import Example, write_example
from loopwright.output import Json, console, show_json

DataDir = Annotated[Path, typer.Option(help="Where databases, events and artifacts are kept.")]


def up(data_dir: DataDir = Path(".loopwright")) -> None:
    """Run every service in this process until interrupted."""
    from loopwright.embedded import main

    main(data_dir)


def demo(
    dir: Annotated[Path, typer.Option(help="Where the demo works and leaves its story.")] = Path(
        "demo-data"
    ),
    rows: Annotated[
        int | None, typer.Option(min=1000, help="Calls to make; all of them by default.")
    ] = None,
) -> None:
    """Watch the loop close on real data: a bank's call centre, 2008 to 2010, in minutes."""
    from loopwright.demo import main

    raise typer.Exit(main(dir, rows))


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


def doctor(as_json: Json = False) -> None:
    """Check the services and what they need of this machine."""
    from loopwright.doctor import examine, show

    findings = examine()
    show(findings, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "bad" for finding in findings) else 0)
