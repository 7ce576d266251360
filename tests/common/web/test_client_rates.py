"""So many requests a second of each address, and twice as many at once."""

from loopwright_common.web.client_rates import ClientRates

HOST = "192.0.2.1"


def ask(rates: ClientRates, now: float, host: str = HOST) -> float:
    """The seconds to wait, 0 where the request is counted."""
    client = rates.of(host, now)
    if not (wait := client.wait(now)):
        client.count(now)
    return wait


def test_a_burst_is_answered_and_then_an_even_flow() -> None:
    rates = ClientRates(10)

    at_once = [ask(rates, 100.0) for _ in range(30)]
    later = [ask(rates, 101.0) for _ in range(30)]

    assert at_once.count(0) == 21
    assert 0 < at_once[-1] <= 0.1001
    assert later.count(0) == 10


def test_an_address_that_asks_too_often_takes_nothing_from_others() -> None:
    rates = ClientRates(1)
    for _ in range(10):
        ask(rates, 5.0)

    assert ask(rates, 5.0) > 0
    assert ask(rates, 5.0, "192.0.2.2") == 0


def test_a_network_of_ipv6_is_one_client() -> None:
    rates = ClientRates(1)
    waits = [ask(rates, 5.0, f"2001:db8::{number:x}") for number in range(9)]

    assert waits.count(0) == 3
    assert ask(rates, 5.0, "2001:db8:0:1::1") == 0


def test_addresses_without_number_are_forgotten() -> None:
    rates = ClientRates(1)
    for number in range(10_000):
        ask(rates, float(number), f"host-{number}")

    assert len(rates._clients) < 5_000
    for number in range(10_000):
        ask(rates, 20_000.0, f"host-{number}")
    assert len(rates._clients) < 5_000
