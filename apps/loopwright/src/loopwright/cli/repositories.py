"""`loopwright repositories`: which git repositories start pipelines."""

from pathlib import Path
from typing import Annotated

import typer

from loopwright.client import Services
from loopwright.output import Column, Json, console, show_items, show_json

app = typer.Typer(no_args_is_help=True, help="Git repositories whose commits start pipelines.")
COLUMNS: list[Column] = [
    *(
        "name",
        "branch",
        ("head", lambda repository: (repository["head"] or "")[:8]),
        "pipeline",
        "url",
    ),
    "problem",
]
Name = Annotated[str, typer.Argument(help="The repository's name in Loopwright.")]


@app.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(help="A directory or a git URL.")],
    branch: Annotated[str, typer.Option(help="The branch to watch.")] = "main",
    as_json: Json = False,
) -> None:
    """Watch a repository; its newest commit is run at once."""
    path = Path(url).expanduser()
    where = str(path.resolve()) if path.exists() else url
    with Services() as services:
        added = services.post(
            "trainer", "/v1/repositories", {"name": name, "url": where, "branch": branch}
        )
    if as_json:
        show_json(added)
    else:
        console.print(f"added {name}; see `loopwright runs list`", markup=False)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """What is watched."""
    with Services() as services:
        listed = services.items("trainer", "/v1/repositories")
    show_items(listed, COLUMNS, as_json=as_json, none="no repositories yet; see `loopwright init`")


@app.command()
def changed(
    name: Name,
    commit: Annotated[str | None, typer.Option(help="Else the branch's newest.")] = None,
    as_json: Json = False,
) -> None:
    """Tell the trainer of a commit without waiting for the next look."""
    with Services() as services:
        reported = services.post("trainer", f"/v1/repositories/{name}/changed", {"commit": commit})
    if as_json:
        show_json(reported)
    else:
        console.print(f"told the trainer that {name} changed", markup=False)


@app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Stop watching; versions and runs stay."""
    with Services() as services:
        answer = services.delete("trainer", f"/v1/repositories/{name}")
    if as_json:
        show_json(answer)
    else:
        console.print(f"removed {name}", markup=False)
