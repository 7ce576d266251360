"""`loopwright why`: the chain of events that put a version where it is."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from loopwright.cli.models import split
from loopwright.client import Services
from loopwright.output import Json, clock_time, console, show_json
from loopwright_common.cloudevents import summarize
from loopwright_common.events import topic_of


def why(
    model: Annotated[str, typer.Argument(help="MODEL, MODEL@alias or MODEL/version.")],
    as_json: Json = False,
) -> None:
    """Why a version is where it is, back to the commit or the drift."""
    name, version = split(model)
    with Services() as services:
        chain = services.get("registry", f"/v1/why/{name}/{version or '@champion'}")
    if as_json:
        show_json(chain)
    else:
        title = f"{name} version {chain['version']} {' '.join(chain['aliases'])}"
        console.print(tree_of(title.rstrip(), chain["items"]), soft_wrap=False)


def tree_of(title: str, events: list[dict[str, Any]]) -> Tree:
    """Every event hangs below the last of its causes that the chain holds."""
    tree = Tree(f"[bold]{escape(title)}[/]", guide_style="dim")
    branches: dict[str, Tree] = {}
    for event in events:
        causes = [branches[cause] for cause in causes_of(event) if cause in branches]
        parent = causes[-1] if causes else tree
        branches[event["id"]] = parent.add(_line(event))
    return tree


def causes_of(event: Mapping[str, Any]) -> list[str]:
    """Ids of the causing events; CloudEvents carries them in one string."""
    causes = event.get("causes") or ""
    return causes.split() if isinstance(causes, str) else list(causes)


def _line(event: Mapping[str, Any]) -> str:
    text = event.get("sentence") or summarize(event)
    when = clock_time(event.get("time"))
    return f"[dim]{when}[/] [cyan]{topic_of(event['type'])}[/] {escape(text)}"
