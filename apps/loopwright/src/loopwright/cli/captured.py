"""`loopwright captured`: rows kept from production."""

import typer

from loopwright.client import Services
from loopwright.output import Column, Json, show_items

app = typer.Typer(no_args_is_help=True, help="Rows captured in production.")
COLUMNS: list[Column] = [
    "model",
    "rows",
    "labelled",
    ("pinned rows", lambda captured: (captured["newest"] or {}).get("rows")),
    ("pinned manifest", lambda captured: (captured["newest"] or {}).get("digest")),
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Captured rows per model, and the newest pinned manifest of each."""
    with Services() as services:
        models = services.get("monitor", "/v1/models")["items"]
        captured = [services.get("monitor", f"/v1/captured/{model}") for model in models]
    show_items(captured, COLUMNS, as_json=as_json, none="no rows captured yet")
