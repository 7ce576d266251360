"""The call centre: asks for predictions in time order, and sends the outcomes later."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from loopwright.demo.client.calls import BASE_ROWS, Calls
from loopwright.demo.client.delayed_labels import DelayedLabels
from loopwright.demo.client.pace import Pace
from loopwright.demo.client.scoring_client import ScoringClient
from loopwright.demo.client.served_rows import ServedRows

FROZEN = 1
"""The version that all is compared with."""


_IN_FLIGHT = 4
_PAUSE = 0.05
_FROZEN_ROWS = 200
_REPORT_EVERY = 250
"""Rows between two reports of outcomes."""


@dataclass(slots=True)
class CallStream:
    """Sends every call once; `sent` rows are on their way or answered.

    `pace` is asked before each request; None lets it wait.
    """

    calls: Calls
    scoring: ScoringClient
    pace: Callable[[], Pace | None]
    served: ServedRows = field(init=False)
    sent: int = 0
    answered: int = 0
    _compared: int = 0
    _last_report: int = 0
    _labels: DelayedLabels = field(default_factory=DelayedLabels)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_IN_FLIGHT))

    def __post_init__(self) -> None:
        self.served = ServedRows(np.array([outcome == "yes" for outcome in self.calls.outcomes]))

    async def run(self) -> None:
        """All calls, all outcomes, and version 1's answers to the same rows."""
        async with asyncio.TaskGroup() as group:
            due = time.monotonic()
            while self.sent < len(self.calls):
                if (pace := self.pace()) is None:
                    await asyncio.sleep(_PAUSE)
                    continue
                await self._slots.acquire()
                start, stop = self.sent, min(self.sent + pace.rows, len(self.calls))
                self.sent = stop
                group.create_task(self._call(start, stop))
                self._compare(group)
                if start - self._last_report >= _REPORT_EVERY:
                    self._last_report = start
                    await self._send_due_labels(start)
                # Time lost to a slow scored is not caught up: a call centre does not burst.
                due = max(due + pace.rows / pace.per_second, time.monotonic() - 0.1)
                await asyncio.sleep(max(due - time.monotonic(), 0))
            self._compare(group)
        await self._send_due_labels(None)

    async def _call(self, start: int, stop: int) -> None:
        try:
            request = self.calls.request(start, stop)
            scored = await self.scoring.predict(request, key=f"call-{BASE_ROWS + start}")
        finally:
            self._slots.release()
        rows = slice(start, stop)
        self.served.version[rows], self.served.probability[rows] = (
            scored.version,
            scored.probability,
        )
        self.served.time[rows] = time.time()
        self.answered += stop - start
        outcomes = list(self.calls.outcomes[start:stop])
        self._labels.schedule(start, scored.prediction_id, outcomes)

    async def _send_due_labels(self, row: int | None) -> None:
        ids, labels = self._labels.pop_due(row)
        if ids:
            await self.scoring.send_feedback(ids, labels)

    def _compare(self, group: asyncio.TaskGroup) -> None:
        """Have version 1 asked about the rows sent since the last time, in large requests."""
        rest = self.sent == len(self.calls)
        while self.sent - self._compared >= (1 if rest else _FROZEN_ROWS):
            start, self._compared = self._compared, min(self._compared + _FROZEN_ROWS, self.sent)
            group.create_task(self._ask_frozen(start, self._compared))

    async def _ask_frozen(self, start: int, stop: int) -> None:
        scored = await self.scoring.predict(self.calls.request(start, stop), version=FROZEN)
        self.served.frozen_probability[start:stop] = scored.probability
