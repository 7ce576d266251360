"""`loopwright captured`: rows kept from production."""

import typer

from loopwright.client import Services
from loopwright.output import Json, Limit, show_items

app = typer.Typer(no_args_is_help=True, help="Rows captured in production.")
COLUMNS = ["model", "digest", "rows", "labelled", "from", "until", "created_at", "kind"]


@app.command("list")
def list_(limit: Limit = 50, as_json: Json = False) -> None:
    """Captured data per model, and the pinned manifests."""
    with Services() as services:
        found = services.items("monitor", "/v1/captured", limit)
    show_items(found, COLUMNS, as_json=as_json)
