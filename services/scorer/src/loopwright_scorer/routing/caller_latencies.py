"""How long the calls of callers took who are bound to one arm by a routing key."""

import numpy as np

GROUPS = 4096
"""Callers beyond that share a group, which counts as one caller."""


class CallerLatencies:
    """Calls by caller and latency; a caller is known by where its key falls in [0, 1)."""

    def __init__(self, cells: int) -> None:
        self._calls = np.zeros((GROUPS, cells), np.uint32)

    def count(self, position: float, cell: int) -> None:
        """Count a call whose latency falls in the cell, from 0."""
        self._calls[int(position * GROUPS), cell] += 1

    def calls(self) -> list[int]:
        """Calls by latency, [cells]."""
        counts: list[int] = self._calls.sum(axis=0).tolist()
        return counts

    def shares(self) -> list[float]:
        """The same where all calls of a caller count as one call, [cells]."""
        called = self._calls[self._calls.any(axis=1)]
        shares: list[float] = (called / called.sum(axis=1, keepdims=True)).sum(axis=0).tolist()
        return [round(share, 4) for share in shares]
