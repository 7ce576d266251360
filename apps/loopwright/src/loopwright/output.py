"""What the command line prints: tables for people, JSON for programs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
Row = Mapping[str, Any]
Column = str | tuple[str, Callable[[Row], object]]
"""A field of the item, dotted where nested, or a title and how to get the cell."""

console = Console()
errors = Console(stderr=True)


def show_items(items: Iterable[Row], columns: Sequence[Column], *, as_json: bool) -> None:
    """A table with one line per item, or `{"items": [...]}`."""
    found = list(items)
    if as_json:
        show_json({"items": found})
        return
    if not found:
        console.print("none")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(_title(column), overflow="fold")
    for item in found:
        table.add_row(*(_cell(item, column) for column in columns))
    console.print(table)


def show_one(item: Row, fields: Sequence[Column], *, as_json: bool) -> None:
    """One thing, a line per field that it has."""
    if as_json:
        show_json(item)
        return
    for field in fields:
        if text := _cell(item, field):
            console.print(f"[bold]{_title(field):14}[/] {text}", soft_wrap=True)


def show_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def field(item: object, path: str) -> Any:
    """The value at a dotted path, or None."""
    for name in path.split("."):
        item = item.get(name) if isinstance(item, Mapping) else None
    return item


def local_time(text: str | None) -> str:
    """An RFC 3339 time as a person's clock shows it."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plain(value: object) -> str:
    """A value as a table shows it; RFC 3339 times in local time."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(plain(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(part)}" for name, part in value.items())
    return str(value)


def _title(column: Column) -> str:
    name = column if isinstance(column, str) else column[0]
    return name.rsplit(".", maxsplit=1)[-1].replace("_", " ")


def _cell(item: Row, column: Column) -> str:
    if not isinstance(column, str):
        return escape(plain(column[1](item)))
    value = field(item, column)
    is_time = isinstance(value, str) and column.endswith(("_at", "time"))
    return escape(local_time(value) if is_time else plain(value))
