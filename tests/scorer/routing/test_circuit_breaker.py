"""An arm that fails in a row takes no more calls."""

from loopwright_scorer.routing.circuit_breaker import TRIP_AFTER, CircuitBreaker


def test_only_consecutive_errors_open_the_circuit() -> None:
    circuit = CircuitBreaker()
    for _ in range(TRIP_AFTER - 1):
        assert not circuit.record_error(2, "boom")
    circuit.record_success()
    assert not circuit.record_error(2, "boom")
    assert circuit.opened is None


def test_harm_opens_the_circuit_at_once() -> None:
    circuit = CircuitBreaker()
    assert circuit.record_harm(2, "it did not return")
    assert not circuit.record_harm(2, "it did not return again")
    assert circuit.opened == "version 2: it did not return"
