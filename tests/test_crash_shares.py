"""The crash tests of a commit: every one is run by exactly one of four commits in a row."""

from collections import Counter

import pytest

from tests.crash_shares import SHARES, seconds, share_of

TESTS = [
    *(
        f"tests/e2e/test_kill.py::test_the_loop_completes_when_killed_anywhere[{part}-{engine}]"
        for part in ("trainer", "artifacts", "registry", "deployer", "scorer", "monitor")
        for engine in ("embedded", "kafka")
    ),
    *(f"tests/a/test_b.py::test_c[{number}]" for number in range(31)),
]


@pytest.mark.parametrize("commit", [0, 3, 1_001])
def test_each_is_run_by_exactly_one_of_four_commits_in_a_row(commit: int) -> None:
    ran = Counter(test for later in range(SHARES) for test in share_of(TESTS, commit + later))
    assert ran == Counter(TESTS)


def test_a_commit_runs_the_same_whatever_order_the_tests_are_found_in() -> None:
    assert share_of(TESTS, 7) == share_of(reversed(TESTS), 7)


def test_the_shares_take_about_as_long_and_begin_with_the_longest() -> None:
    shares = [[seconds(test) for test in share_of(TESTS, commit)] for commit in range(SHARES)]
    assert all(share == sorted(share, reverse=True) for share in shares)
    totals = [sum(share) for share in shares]
    assert max(totals) - min(totals) < 0.2 * max(totals)
