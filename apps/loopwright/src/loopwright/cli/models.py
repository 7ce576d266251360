"""`loopwright models`: names in the registry and their versions."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from loopwright.client import Services
from loopwright.output import (
    Column,
    Json,
    Limit,
    Row,
    clock_time,
    console,
    show_items,
    show_json,
    show_one,
)
from loopwright_common.wording import counted

app = typer.Typer(no_args_is_help=True, help="Models and their versions.")


def _datasets(version: Row) -> str:
    listed = version.get("datasets") or []
    return ", ".join(f"{d.get('role')} {counted(d['rows'], 'row')}" for d in listed)


def _created(version: Row) -> str:
    return clock_time(datetime.fromtimestamp(version["created_ms"] / 1000, UTC).isoformat())


COLUMNS: list[Column] = ["name", "aliases", "description"]
VERSIONS: list[Column] = [
    "version",
    "aliases",
    "format",
    ("created", _created),
    "status_message",
    "metrics",
]


@app.command("list")
def list_(limit: Limit = 50, as_json: Json = False) -> None:
    """The models."""
    with Services() as services:
        listed = services.items("registry", "/v1/models", limit)
    show_items(listed, COLUMNS, as_json=as_json, none="no models yet")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="NAME, NAME/VERSION or NAME@ALIAS.")],
    as_json: Json = False,
) -> None:
    """A model's versions, or everything about one of them."""
    name, version = split(model)
    with Services() as services:
        if version:
            path = f"/v1/models/{name}/versions/{version}"
            _show_version(services.get("registry", path), as_json=as_json)
            return
        listed = services.items("registry", f"/v1/models/{name}/versions")
    if as_json:
        show_json({"model": name, "versions": listed})
    else:
        console.print(f"[bold]{name}[/]")
        show_items(listed, VERSIONS, as_json=False)


def split(model: str) -> tuple[str, str | None]:
    """`name`, `name/3` or `name@alias` as name and version (`@alias` keeps its sign)."""
    if "@" in model:
        name, _, alias = model.partition("@")
        return name, f"@{alias}"
    name, _, version = model.rpartition("/")
    return (name, version) if name and version.isdigit() else (model, None)


def _show_version(version: dict[str, Any], *, as_json: bool) -> None:
    fields: list[Column] = [
        *("model", "version", "aliases", "format", "sealed", "status_message", "digest"),
        *("pipeline", "commit", "run_id", "metrics"),
        ("datasets", _datasets),
        ("created", _created),
    ]
    show_one(version, fields, as_json=as_json)
