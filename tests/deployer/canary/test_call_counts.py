"""Counters of replicas, merged and summed."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from loopwright_deployer.canary.call_counts import (
    CallCounter,
    CounterKey,
    count_step,
    merge_reports,
)


def test_reports_merge_to_the_same_in_any_order() -> None:
    edges = (0.001, 0.002)
    reports = [CallCounter(3 * n, n, edges, (n, n, n), refused=n) for n in (1, 5, 9)]

    results = set()
    for order in permutations([*reports, reports[1]]):
        total: CallCounter | None = None
        for one in order:
            total = merge_reports(total, one)
        results.add(total)

    assert results == {reports[2]}


@given(st.integers(0, 50), st.integers(0, 50))
def test_replicas_and_epochs_add_up(first: int, second: int) -> None:
    counters = {
        CounterKey("a", "1", 7, 2): CallCounter(first, 0, refused=3),
        CounterKey("a", "2", 7, 2): CallCounter(second, 1, refused=4),
        CounterKey("a", "2", 6, 2): CallCounter(1000, 9),
    }

    summed = count_step(counters, 7, canary=2, champion=1).canary
    assert summed == CallCounter(first + second, 1, refused=7)
