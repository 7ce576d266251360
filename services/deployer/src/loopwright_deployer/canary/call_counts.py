"""The calls that a canary is judged by: counters of each replica, merged and summed.

Counters only grow, so that of two reports the later one has all of the earlier.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import NamedTuple


class CounterKey(NamedTuple):
    """Whose counter it is; a restarted replica has a new epoch, so counters only grow."""

    replica: str
    epoch: str
    revision: int
    version: int


@dataclass(frozen=True, slots=True)
class BoundCalls:
    """Calls by latency of callers who are bound to the arm by a routing key.

    `counts` are part of a counter's `latency_counts`; in `shares` all calls of a caller count as
    one. Of several `replicas` each may have been called by the same callers.
    """

    counts: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    replicas: int = 0

    @classmethod
    def of_one(cls, counts: Sequence[int], shares: Sequence[float]) -> "BoundCalls":
        """Those of one replica; none where there are none."""
        return cls(tuple(counts), tuple(shares), 1) if counts else cls()


_NOBODY = BoundCalls()


@dataclass(frozen=True, slots=True)
class CallCounter:
    """Cumulative calls; `latency_counts` has one more entry than `latency_edges` (seconds)."""

    calls: int = 0
    errors: int = 0
    latency_edges: tuple[float, ...] = ()
    latency_counts: tuple[int, ...] = ()
    tripped: str | None = None
    refused: int = 0
    """Requests that it refused and the other arm answered; they are no calls."""
    bound: BoundCalls = _NOBODY

    @property
    def requests(self) -> int:
        return self.calls + self.refused


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Calls of the two arms under one route revision, and the champion's of `before` it."""

    canary: CallCounter = field(default_factory=CallCounter)
    champion: CallCounter = field(default_factory=CallCounter)
    before: CallCounter = field(default_factory=CallCounter)


def merge_reports(old: CallCounter | None, new: CallCounter) -> CallCounter:
    """The later of two reports of one counter, in whatever order they came."""
    if old is None:
        return new
    pairs = zip(old.latency_counts, new.latency_counts, strict=False)
    same = old.latency_edges == new.latency_edges
    return CallCounter(
        max(old.calls, new.calls),
        max(old.errors, new.errors),
        new.latency_edges,
        tuple(max(a, b) for a, b in pairs) if same else new.latency_counts,
        new.tripped or old.tripped,
        max(old.refused, new.refused),
        max(new.bound, old.bound, key=lambda bound: sum(bound.counts)),
    )


def sum_counters(counters: Iterable[CallCounter]) -> CallCounter:
    """The sum over replicas and epochs; histograms with foreign edges are left out."""
    total = CallCounter()
    for one in counters:
        edges = total.latency_edges or one.latency_edges
        counts = total.latency_counts or (0,) * len(one.latency_counts)
        bound = total.bound
        if one.latency_edges == edges:
            counts = tuple(a + b for a, b in zip(counts, one.latency_counts, strict=True))
            bound = _together(bound, one.bound)
        total = CallCounter(
            total.calls + one.calls,
            total.errors + one.errors,
            edges,
            counts,
            total.tripped or one.tripped,
            total.refused + one.refused,
            bound,
        )
    return total


def _together(one: BoundCalls, other: BoundCalls) -> BoundCalls:
    if not one.replicas or not other.replicas:
        return one if one.replicas else other
    return BoundCalls(
        tuple(map(add, one.counts, other.counts)),
        tuple(map(add, one.shares, other.shares)),
        one.replicas + other.replicas,
    )


def count_step(
    counters: Mapping[CounterKey, CallCounter], revision: int, canary: int, champion: int
) -> StepCounts:
    """Calls of both versions under one revision, over all replicas."""
    here = [(key, value) for key, value in counters.items() if key.revision == revision]
    earlier = [(key, value) for key, value in counters.items() if key.revision < revision]
    return StepCounts(
        sum_counters(value for key, value in here if key.version == canary),
        sum_counters(value for key, value in here if key.version == champion),
        sum_counters(value for key, value in earlier if key.version == champion),
    )
