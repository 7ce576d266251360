"""A deployment as it moves: a screen that renews itself, or a line per step where none is."""

import time
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loopwright.cli.deploying import offers
from loopwright.output import Row, clock_time, console

_EVERY = 1.0
_WAITS_EVERY = 10.0
"""Seconds between lines of what it waits for, where no terminal renews them."""
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
    told, waited = 0, time.monotonic()
    while True:
        if steps := record["steps"][told:]:
            _tell(steps, offers.lines(record))
            told, waited = len(record["steps"]), time.monotonic()
        if ends(record):
            return record
        if time.monotonic() - waited >= _WAITS_EVERY:
            console.print(f"{' ' * 10}{record['why']}", markup=False, highlight=False)
            waited = time.monotonic()
        time.sleep(_EVERY)
        record = read()


def _tell(steps: Sequence[Row], commands: Sequence[str]) -> None:
    for step in steps:
        console.print(_line(step), markup=False, highlight=False)
    for command in commands:
        console.print(f"{' ' * 10}{command}", markup=False, highlight=False)


def _line(step: Row) -> str:
    by = f" ({step['by']})" if step["by"] else ""
    return f"{clock_time(step['at'])}  {step['state']}: {step['why']}{by}"


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
        *(Text(f"  {line}") for line in offers.lines(record)),
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
