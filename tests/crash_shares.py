"""Which tests of minutes one commit runs: of any four commits in a row, each test meets one."""

import re
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

SHARES = 4
_OTHER_SECONDS = 10.0
_SECONDS = {
    r"test_two_of_everything_on_a_bucket": 240.0,
    r"test_fifty_thousand_events": 200.0,
    r"test_every_natural_repository": 200.0,
    r"test_a_minute_without_the_bus": 68.0,
    r"killed_anywhere\[deployer-": 300.0,
    r"killed_anywhere\[trainer-": 240.0,
    r"killed_anywhere\[registry-": 115.0,
    r"killed_anywhere\[monitor-": 80.0,
    r"killed_anywhere\[(scorer|artifacts)-": 58.0,
    r"test_a_monitor_that_is_killed": 24.0,
}
"""What the long ones take, so that the shares are about as long."""


def share_of(tests: Iterable[str], commit: int) -> list[str]:
    """Those of the node ids that the commit of this number runs, the longest first."""
    return _shares(tests)[commit % SHARES]


def _shares(tests: Iterable[str]) -> list[list[str]]:
    """Each test, the longest first, to whichever share is the shortest so far."""
    shares: list[list[str]] = [[] for _ in range(SHARES)]
    filled = [(0.0, number) for number in range(SHARES)]
    heapify(filled)
    for test in sorted(tests, key=lambda test: (-seconds(test), test)):
        total, number = heappop(filled)
        shares[number].append(test)
        heappush(filled, (total + seconds(test), number))
    return shares


def seconds(test: str) -> float:
    """About what a test takes on an idle machine."""
    return next((s for name, s in _SECONDS.items() if re.search(name, test)), _OTHER_SECONDS)
