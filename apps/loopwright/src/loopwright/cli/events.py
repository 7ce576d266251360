"""`loopwright events`: what happened, from the archive."""

from typing import Annotated

import typer

from loopwright.client import PAGE, Services
from loopwright.output import Column, Json, Limit, show_items
from loopwright_common.sentences import sentence, topic_of

app = typer.Typer(no_args_is_help=True, help="Events.")
COLUMNS: list[Column] = ["position", "time", ("event", topic_of), ("says", sentence)]


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
    wanted = {"type": type, "subject": subject, "model": model}
    with Services() as services:
        if after is None:
            found = services.get("registry", "/v1/events", last=limit, **wanted)["items"]
        else:
            found = services.items("registry", "/v1/events", limit, after=after, **wanted)
    show_items(found, COLUMNS, as_json=as_json, none="no events yet")
