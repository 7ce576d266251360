"""`loopwright events`: what happened, from the archive."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from loopwright.client import PAGE, Services
from loopwright.output import Column, Json, Limit, clock_time, console, errors, show_items
from loopwright.sse_client import EventStreamClient
from loopwright_common.cloudevents import summarize
from loopwright_common.events import topic_of

app = typer.Typer(no_args_is_help=True, help="Events.")
COLUMNS: list[Column] = [
    "position",
    "time",
    ("event", lambda event: topic_of(event["type"])),
    ("says", summarize),
]


@app.command("list")
def list_(
    type: Annotated[str | None, typer.Option(help="Such as drift-detected.")] = None,
    subject: Annotated[str | None, typer.Option(help="Such as models/bank/versions/2.")] = None,
    model: Annotated[str | None, typer.Option(help="Only events of this model.")] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="The first ones behind this position instead.")
    ] = None,
    limit: Limit = PAGE,
    as_json: Json = False,
) -> None:
    """The newest events, oldest first."""
    selection = {"type": type, "subject": subject, "model": model}
    with Services() as services:
        if after is None:
            events = services.get("registry", "/v1/events", last=limit, **selection)["items"]
        else:
            events = services.items("registry", "/v1/events", limit, after=after, **selection)
    show_items(events, COLUMNS, as_json=as_json, none="no events yet")


@app.command()
def tail(
    type: Annotated[
        list[str] | None, typer.Option(help="Such as drift-detected; may be repeated.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only events of this model.")] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin behind this position instead of now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow events as they happen, one line each, until interrupted."""
    query = [("type", name) for name in type or ()]
    query += [("model", model)] if model is not None else []
    query += [("after", str(after))] if after is not None else []
    client = EventStreamClient(query, lambda text: errors.print(text, markup=False, style="yellow"))
    with suppress(KeyboardInterrupt):
        for event in client.events():
            _show(event, as_json=as_json)


def _show(event: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event, ensure_ascii=False), flush=True)
        return
    parts = [
        clock_time(event["time"]),
        topic_of(event["type"]),
        event.get("subject", ""),
        summarize(event),
    ]
    console.print("  ".join(parts).rstrip(), markup=False, highlight=False)
