"""What the command line prints: tables for people, JSON for programs."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
Row = Mapping[str, Any]
Column = str | tuple[str, Callable[[Row], object]]
"""A field of the item, dotted where nested, or a title and how to get the cell."""
UP = "Loopwright is up"
_GAP = 2
_NARROWEST = 40
"""Below this width the last column goes to lines of its own."""
_UNBOUNDED = 10_000
"""Where a program reads, lines are never folded."""

console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _UNBOUNDED)
errors = Console(stderr=True, soft_wrap=True)


def show_items(
    items: Iterable[Row], columns: Sequence[Column], *, as_json: bool, none: str = "none"
) -> None:
    """A table with one line per item, only its last column folded; or `{"items": [...]}`."""
    listed = list(items)
    if as_json:
        show_json({"items": listed})
    elif listed:
        _show_table([_title(c) for c in columns], [[_cell(i, c) for c in columns] for i in listed])
    else:
        console.print(none, markup=False)


def show_one(item: Row, fields: Sequence[Column], *, as_json: bool) -> None:
    """One thing, a line per field that it has."""
    if as_json:
        show_json(item)
        return
    for field in fields:
        if text := _cell(item, field):
            console.print(f"[bold]{_title(field):14}[/] {escape(text)}", highlight=False)


def greet(data_dir: Path, addresses: Mapping[str, str]) -> None:
    """Say that the system is up, where its parts are, and what to do next."""
    console.print(f"[bold]{UP}[/], data in {data_dir}", soft_wrap=True)
    width = max(len(name) for name in addresses) + 2
    for name, address in addresses.items():
        console.print(f"{name:{width}}{address}", markup=False, highlight=False)
    console.print(
        "next, in another terminal:\n"
        "  loopwright init bank && loopwright repositories add bank bank\n"
        "  loopwright events list",
        markup=False,
    )


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


def clock_time(text: str | None) -> str:
    """As `local_time`, without the date where it is today's."""
    today = datetime.now().astimezone().strftime("%Y-%m-%d ")
    return local_time(text).removeprefix(today)


def plain(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(plain(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(part)}" for name, part in value.items())
    return str(value)


def _show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    columns = zip(titles, *rows, strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    for number, line in enumerate(chain(_lines(titles, widths), _all_lines(rows, widths))):
        console.print(line, markup=False, highlight=False, style="bold" if number == 0 else None)


def _all_lines(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for row in rows:
        yield from _lines(row, widths)


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """The row's lines: the last cell beside the others if there is room, else below them."""
    *cells, last = row
    first = "".join(set_cell_size(c, w + _GAP) for c, w in zip(cells, widths, strict=False))
    indent = cell_len(first)
    room = console.width - indent
    if room < min(widths[-1], _NARROWEST):
        yield first.rstrip()
        first, indent, room = " " * 2 * _GAP, 2 * _GAP, console.width - 2 * _GAP
    folded = textwrap.wrap(last, max(room, 10), break_on_hyphens=False)
    yield (first + (folded[0] if folded else "")).rstrip()
    yield from (" " * indent + line for line in folded[1:])


def _title(column: Column) -> str:
    name = column if isinstance(column, str) else column[0]
    return name.rsplit(".", maxsplit=1)[-1].replace("_", " ")


def _cell(item: Row, column: Column) -> str:
    if not isinstance(column, str):
        return plain(column[1](item))
    value = field(item, column)
    is_time = isinstance(value, str) and column.endswith(("_at", "time"))
    return clock_time(value) if is_time else plain(value)
