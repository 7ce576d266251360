"""Which computation harms the process that it is in: a pure rule. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loopwright_scorer.watchdog.computation_slots import Computation, Snapshot

_WITHOUT_CPU = 0.1
"""What a look counts at which a computation got no processor time: it may be the victim."""
_SILENT_SECONDS = 5.0
"""The event loop does not come round for so long: whoever computes all the while holds it up."""
_SUDDEN_LOOKS = 1.0
"""Looks that a computation lasts before it is blamed for what memory there is."""


@dataclass(frozen=True)
class Verdict:
    """The packages to blame, and of what."""

    digests: Sequence[str]
    reason: str


@dataclass(frozen=True)
class _Seen:
    looks: float
    """Counted by what the computation got of the processor."""
    ticks: int


@dataclass
class VerdictRule:
    """Looks at a process again and again.

    Only looks at which the process could go on count, so neither a stopped process nor a machine
    without time to spare is taken for a computation that does not end.
    """

    memory: int
    """Bytes that the process may have resident."""
    every: float
    """Seconds between two looks."""
    _seen: Mapping[Computation, _Seen] = field(default_factory=dict)
    _beats: int = 0
    _silent: int = 0

    def look(
        self, now: Snapshot, ticks: Mapping[Computation, int], resident: int, gap: float
    ) -> Verdict | None:
        """`ticks` are the processor time of each computation's thread, `gap` the seconds since the
        last look, 0 where the process was stopped.
        """
        counts = 0 < gap < 2 * self.every
        self._seen = {one: self._look_at(one, ticks[one], counts) for one in now.running}
        self._silent = self._silent + counts if now.beats and now.beats == self._beats else 0
        self._beats = now.beats
        return self._overdue() or self._greedy(resident)

    def _look_at(self, one: Computation, ticks: int, counts: bool) -> _Seen:
        before = self._seen.get(one, _Seen(0, ticks))
        weight = 1.0 if ticks > before.ticks else _WITHOUT_CPU
        return _Seen(before.looks + counts * weight, ticks)

    def _overdue(self) -> Verdict | None:
        silent = self._silent * self.every >= _SILENT_SECONDS
        for one, seen in self._seen.items():
            lasted = seen.looks * self.every
            if lasted >= one.allowed or (silent and lasted >= _SILENT_SECONDS):
                return Verdict([one.digest], f"it did not return within {lasted:.1f} s")
        return None

    def _greedy(self, resident: int) -> Verdict | None:
        lasting = [one.digest for one, seen in self._seen.items() if seen.looks >= _SUDDEN_LOOKS]
        if resident <= self.memory or not lasting:
            return None
        return Verdict(lasting, f"the scorer's memory passed {self.memory >> 20} MiB meanwhile")
