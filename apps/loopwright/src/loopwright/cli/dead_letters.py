"""`loopwright dead-letters`: events that no retry could help."""

import typer

from loopwright.client import PORTS, CallError, Services
from loopwright.output import Json, show_items

app = typer.Typer(no_args_is_help=True, help="Events that could not be handled.")
COLUMNS = ["failed_at", "consumer", "topic", "key", "attempts", "error"]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Dead letters of every service that has any."""
    with Services() as services:
        found = [letter for service in PORTS for letter in _of(services, service)]
    show_items(found, COLUMNS, as_json=as_json, none="no dead letters")


def _of(services: Services, service: str) -> list[dict[str, object]]:
    try:
        letters = services.items(service, "/v1/dead-letters")
    except CallError as error:
        if error.status == 404:
            return []
        raise
    return [{"service": service, **letter} for letter in letters]
