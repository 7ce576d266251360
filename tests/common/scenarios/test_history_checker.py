"""The history checker sees each kind of fault, so that its silence elsewhere means something."""

import pytest

from tests.history import Fact, judge

TOLD: list[Fact] = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]


def test_another_order_between_keys_is_clean() -> None:
    verdict = judge(TOLD, sorted(TOLD))
    assert verdict.clean
    assert str(verdict).startswith("told 5, handled 5, lost 0, twice 0, out of order 0")


@pytest.mark.parametrize(
    ("effects", "fault"),
    [
        (TOLD[:-1], "lost 1"),
        ([*TOLD, ("a", 1)], "twice 1"),
        ([("a", 2), ("a", 1), *TOLD[3:], ("b", 1)], "out of order 2"),
        ([*TOLD, ("c", 1)], "invented 1"),
    ],
)
def test_every_fault_is_counted(effects: list[Fact], fault: str) -> None:
    verdict = judge(TOLD, effects)
    assert fault in str(verdict)
    assert not verdict.clean


def test_a_fact_told_again_is_the_same_fact() -> None:
    assert judge([*TOLD, *TOLD], TOLD).clean
