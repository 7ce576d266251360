"""Nouns are counted as English has it."""

import pytest

from loopwright_common.wording import counted


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 points"),
        (1, "1 point"),
        (2, "2 points"),
        (1_000_000, "1000000 points"),
        (1.0, "1 point"),
        (0.5, "0.5 points"),
        (100 * 0.07, "7 points"),
    ],
)
def test_only_one_of_something_is_singular(count: float, told: str) -> None:
    assert counted(count, "point") == told
