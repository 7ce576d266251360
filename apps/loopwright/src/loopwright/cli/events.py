"""`loopwright events`: the conversation of the services, as the registry archives it."""

from typing import Annotated, Any

import typer

from loopwright.client import Services
from loopwright.output import Column, Json, Limit, show_items
from loopwright.sentences import sentence
from loopwright_common.events import TYPE_PREFIX

app = typer.Typer(no_args_is_help=True, help="Events.")


@app.command("list")
def list_(
    type: Annotated[str | None, typer.Option(help="Such as drift-detected.")] = None,
    subject: Annotated[str | None, typer.Option(help="Such as models/bank/versions/2.")] = None,
    model: Annotated[str | None, typer.Option(help="Only events of this model.")] = None,
    after: Annotated[int | None, typer.Option(help="Position to start behind.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Events, oldest first."""
    with Services() as services:
        found = services.items(
            "registry", "/v1/events", limit, after=after, type=type, subject=subject, model=model
        )
    columns: list[Column] = ["position", "time", ("event", topic_of), "subject", ("says", sentence)]
    show_items(found, columns, as_json=as_json)


def topic_of(event: Any) -> str:
    return str(event["type"]).removeprefix(TYPE_PREFIX).removesuffix(".v1")
