"""`loopwright monitor`: what is watched, and what the monitor decided."""

from typing import Annotated

import typer

from loopwright.client import Services
from loopwright.output import Json, console, show_items, show_json, show_one

app = typer.Typer(no_args_is_help=True, help="Drift, performance and retraining.")
FIELDS = ["model", "version", "state", "profile", "rows_seen", "labelled", "log_loss", "brier"]


@app.command()
def status(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_json: Json = False,
) -> None:
    """Detectors, drift episodes and retraining decisions."""
    with Services() as services:
        if model:
            found = services.get("monitor", f"/v1/models/{model}")
            show_one(found, FIELDS, as_json=as_json)
            return
        episodes = services.items("monitor", "/v1/episodes")
        decisions = services.items("monitor", "/v1/decisions")
    if as_json:
        show_json({"episodes": episodes, "decisions": decisions})
        return
    console.print("[bold]drift episodes[/]")
    show_items(episodes, ["model", "version", "kind", "state", "started_at"], as_json=False)
    console.print("\n[bold]decisions[/]")
    show_items(decisions, ["time", "decision", "sentence"], as_json=False)
