"""Counters of replicas, merged and summed."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from loopwright_deployer.canary.call_counts import (
    BoundCalls,
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


def test_the_later_report_of_bound_callers_counts_whole_and_replicas_add_up() -> None:
    earlier, later = BoundCalls((4, 0), (2.0, 0.0), 1), BoundCalls((4, 3), (1.5, 1.5), 1)
    reports = [CallCounter(9, 0, (0.1,), (5, 4), bound=bound) for bound in (earlier, later)]

    merged = {merge_reports(*pair) for pair in permutations(reports)}
    assert merged == {reports[1]}
    counters = {CounterKey(name, "1", 7, 2): reports[1] for name in "ab"}
    counters[CounterKey("c", "1", 7, 2)] = CallCounter(3, 0, (0.1,), (3, 0))
    summed = count_step(counters, 7, canary=2, champion=1).canary
    assert summed.latency_counts == (13, 8)
    assert summed.bound == BoundCalls((8, 6), (3.0, 3.0), 2)
