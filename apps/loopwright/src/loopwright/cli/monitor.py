"""`loopwright monitor`: what is watched, and what the monitor decided."""

from typing import Annotated, Any

import typer

from loopwright.client import Services
from loopwright.output import (
    Column,
    Json,
    clock_time,
    console,
    field,
    show_items,
    show_json,
    show_one,
)

app = typer.Typer(no_args_is_help=True, help="Drift, performance and retraining.")
FIELDS: list[Column] = [
    "model",
    "champion",
    "rows_seen",
    "captured",
    "labelled",
    ("compared with", lambda model: field(model, "profile.why")),
    ("gaps", lambda model: field(model, "gaps.note")),
    ("alarm at", lambda model: model.get("alarm_at")),
]
EVIDENCE: list[Column] = ["feature", "group", "evidence", "before", "after", "sentence"]
PERFORMANCE: list[Column] = [
    *("version", "labelled", "log_loss", "brier", "mean_label", "mean_score"),
]
EPISODES: list[Column] = [
    *("model", "version", "kind", "opened_at", "rows_seen", "asks", "closed_at", "closed_why"),
]
DECISIONS: list[Column] = [
    ("time", lambda decision: clock_time(decision["at"])),
    "verdict",
    "sentence",
]


@app.command()
def status(
    model: Annotated[str | None, typer.Argument(help="Only this model, in detail.")] = None,
    as_json: Json = False,
) -> None:
    """Detectors, drift episodes and retraining decisions."""
    with Services() as services:
        names = [model] if model else services.get("monitor", "/v1/models")["items"]
        watched = {
            "models": [services.get("monitor", f"/v1/models/{name}") for name in names],
            "episodes": services.items("monitor", "/v1/episodes", model=model),
            "decisions": services.items("monitor", "/v1/decisions", model=model),
        }
    if as_json:
        show_json(watched)
    else:
        _show(watched)


def _show(watched: dict[str, list[dict[str, Any]]]) -> None:
    if not watched["models"]:
        console.print("no model is watched yet")
        return
    for model in watched["models"]:
        show_one(model, FIELDS, as_json=False)
        _part("evidence, strongest first", model["evidence"][:8], EVIDENCE)
        _part("performance on labelled rows", model["performance"], PERFORMANCE)
    _part("drift episodes, newest first", watched["episodes"], EPISODES)
    _part("decisions, newest first", watched["decisions"], DECISIONS)


def _part(title: str, items: list[dict[str, Any]], columns: list[Column]) -> None:
    console.print(f"\n[bold]{title}[/]")
    show_items(items, columns, as_json=False)
