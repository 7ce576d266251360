"""Progress as it happens: events as lines, and one live line on a terminal."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from loopwright.demo.client.archive_watch import WatchedEvent
from loopwright_common.cloudevents import summarize

_PLAIN_EVERY = 10.0
_QUIET = frozenset({"alias-changed", "deployment-changed"})


class Progress:
    """Events scroll by above a live line; without a terminal the line comes every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._printed = self._started
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status = self.console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def show_step(self, text: str) -> None:
        """Say what begins now."""
        self.console.print(f"[dim]{self._clock()}[/] {escape(text)}", soft_wrap=True)

    def show_event(self, event: WatchedEvent) -> None:
        if event.topic not in _QUIET:
            text = escape(summarize(event.event))
            self.console.print(
                f"[dim]{self._clock()}[/] [cyan]{event.topic:21}[/] {text}", soft_wrap=True
            )

    def show_line(self, text: Callable[[], str]) -> None:
        """Renew the live line."""
        if self._status:
            self._status.update(escape(text()))
        elif time.monotonic() - self._printed >= _PLAIN_EVERY:
            self._printed = time.monotonic()
            self.show_step(text())

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60}:{seconds % 60:02}"
