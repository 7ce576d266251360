"""What a scorer may record: memory, and bytes a second while it is busy."""

import pytest

from loopwright_scorer.recording.record_buffer import RecordBudget


def test_a_flood_is_recorded_at_a_rate_all_the_time() -> None:
    """Twice the rate for twenty seconds, after which it is quiet for ten."""
    budget = RecordBudget(room=1000, rate=100)
    second = 1_000_000
    taken = []
    for time in range(0, 20 * second, second // 20):
        taken.append(budget.reserve(10, time))
        if taken[-1]:
            budget.release(10)

    assert sum(taken) == pytest.approx((200 + 20 * 100) / 10, abs=2)
    late = "".join("x" if each else "." for each in taken[-150:])
    assert "..." not in late
    assert late.count("x") == pytest.approx(75, abs=2)
    assert budget.reserve(200, 30 * second)


def test_who_has_time_to_spare_records_all() -> None:
    for cpu, taken_again in ((0.7, True), (0.8, False)):
        budget = RecordBudget(room=1000, rate=100)
        budget.refill_when_idle(1.0, 0.0)
        assert budget.reserve(200, 0)
        budget.refill_when_idle(2.0, cpu)
        assert budget.reserve(200, 0) is taken_again


def test_a_burst_fills_no_more_than_the_buffer() -> None:
    budget = RecordBudget(room=1000, rate=1_000_000_000)

    assert [budget.reserve(400, 0) for _ in range(3)] == [True, True, False]
    budget.release(400)
    assert budget.reserve(400, 1)


def test_what_is_larger_than_a_burst_is_recorded_now_and_then() -> None:
    second = 1_000_000
    budget = RecordBudget(room=10_000, rate=100)
    taken = [time for time in range(30) if budget.reserve(500, time * second)]

    assert taken == [0, 5, 10, 15, 20, 25]
