"""Outcomes come 500 to 2,000 rows later, each once."""

from loopwright.demo.client.delayed_labels import DelayedLabels, delay


def test_delays_are_fixed_per_row_and_within_bounds() -> None:
    delays = [delay(row) for row in range(0, 36_000, 10)]
    assert delays == [delay(row) for row in range(0, 36_000, 10)]
    assert min(delays) >= 500
    assert max(delays) <= 2_000
    assert len(set(delays)) > 1_000


def test_labels_come_when_due_and_only_once() -> None:
    feedback = DelayedLabels()
    feedback.schedule(0, "a", ["yes", "no"])
    assert feedback.pop_due(delay(0) - 1) == ([], [])
    assert feedback.pop_due(delay(0)) == (["a.0", "a.1"], ["yes", "no"])
    assert feedback.pop_due(None) == ([], [])


def test_the_end_of_the_stream_takes_all_that_waits() -> None:
    feedback = DelayedLabels()
    for row in range(0, 100, 10):
        feedback.schedule(row, f"p{row}", ["no"] * 10)
    ids, labels = feedback.pop_due(None)
    assert len(ids) == len(set(ids)) == len(labels) == 100
