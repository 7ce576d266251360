"""A deployment as it moves: a screen that renews itself, or a line per change where none is."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loopwright.output import Row, clock_time, console

_EVERY = 1.0
_STEPS_SHOWN = 8
_METER = 20
_STYLES = {"passed": "green", "failed": "red", "inconclusive": "yellow", "skipped": "dim"}


def watch(read: Callable[[], Row], ends: Callable[[Row], bool]) -> Row:
    """Show what is read, each second, until it ends; returns the last."""
    record = read()
    if console.is_terminal:
        with Live(screen(record), console=console, auto_refresh=False) as live:
            while not ends(record):
                time.sleep(_EVERY)
                record = read()
                live.update(screen(record), refresh=True)
        return record
    told: set[tuple[Any, ...]] = set()
    while True:
        for key, line in lines(record):
            if key not in told:
                told.add(key)
                console.print(line, markup=False, highlight=False)
        if ends(record):
            return record
        time.sleep(_EVERY)
        record = read()


def lines(record: Row) -> Iterator[tuple[tuple[Any, ...], str]]:
    """What is to be told once, each with what it is known by: the steps, then the present wait."""
    for step in record["steps"]:
        by = f" ({step['by']})" if step["by"] else ""
        line = f"{clock_time(step['at'])}  {step['state']}: {step['why']}{by}"
        yield ("step", step["number"]), line
    yield ("why", record["why"]), f"{' ' * 10}{record['why']}"


def screen(record: Row) -> RenderableType:
    """The deployment, its share of the traffic, its latest steps, and its checks as they count."""
    head = Text.assemble(
        (f"{record['model']} version {record['version']}", "bold"),
        f"  {record['state']}, {_meter(record['weight'])} {record['weight']:.0%} of the traffic",
        f"  until {clock_time(record['deadline'])}" if record["deadline"] else "",
    )
    parts: list[RenderableType] = [
        head,
        Text(record["why"]),
        Text(),
        _steps(record["steps"][-_STEPS_SHOWN:]),
    ]
    if record["checks"]:
        parts += [Text(), _checks(record["checks"])]
    return Group(*parts)


def _steps(steps: Sequence[Row]) -> Table:
    table = Table.grid("time", "state", "by", "why", padding=(0, 2))
    for step in steps:
        at = clock_time(step["at"])
        table.add_row(at, step["state"], step["by"] or "", Text(step["why"]))
    return table


def _checks(checks: Sequence[Row]) -> Table:
    table = Table.grid("check", "verdict", "evidence", "sentence", padding=(0, 2))
    for check in checks:
        verdict = Text(check["verdict"], style=_STYLES.get(check["verdict"], ""))
        table.add_row(check["name"], verdict, _evidence(check), Text(check["sentence"]))
    return table


def _evidence(check: Row) -> str:
    """How far a canary's check is from knowing that the version is harmless."""
    counted = check.get("comparison")
    if not counted:
        return ""
    return _meter(min(counted["harmless"] / counted["harmless_limit"], 1.0))


def _meter(share: float) -> str:
    filled = round(share * _METER)
    return "█" * filled + "░" * (_METER - filled)
