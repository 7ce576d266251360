"""True outcomes come later: each answer's labels fall due a fixed number of rows after it."""

import heapq
from dataclasses import dataclass, field
from zlib import crc32

_EARLIEST, _LATEST = 500, 2_000
Labels = tuple[list[str], list[str]]
"""Prediction ids and the labels that belong to them."""


def delay(row: int) -> int:
    """How many rows, 500 to 2,000, pass until the outcomes of the request at `row` are known."""
    return _EARLIEST + crc32(row.to_bytes(8, "big")) % (_LATEST - _EARLIEST + 1)


@dataclass(slots=True)
class DelayedLabels:
    """Labels that wait until they are due."""

    _waiting: list[tuple[int, str, list[str]]] = field(default_factory=list)

    def schedule(self, row: int, prediction_id: str, outcomes: list[str]) -> None:
        heapq.heappush(self._waiting, (row + delay(row), prediction_id, outcomes))

    def pop_due(self, row: int | None) -> Labels:
        """Remove and return what is due when `row` rows are sent; None takes all."""
        ids: list[str] = []
        labels: list[str] = []
        while self._waiting and (row is None or self._waiting[0][0] <= row):
            _, prediction_id, outcomes = heapq.heappop(self._waiting)
            ids += [f"{prediction_id}.{i}" for i in range(len(outcomes))]
            labels += outcomes
        return ids, labels
