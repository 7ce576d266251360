"""Bounds of a share, exact for any number of calls."""

from math import ceil, exp, lgamma, log, log1p
from typing import NamedTuple

_HALVES = 50


class ShareBounds(NamedTuple):
    """A share between 0 and 1, and what it is known to lie between."""

    share: float
    low: float
    high: float


def share_bounds(hits: int, calls: int, alpha: float) -> ShareBounds:
    """What `hits` of `calls` say of the share of all calls that are hits; 0 to 1 without calls.

    Each bound is wrong with the probability `alpha` at most, if calls are independent (Clopper and
    Pearson, 1934): `low` is the share at which so many hits or more have the probability alpha,
    `high` that at which so many or fewer have it.
    """
    if not calls:
        return ShareBounds(0.0, 0.0, 1.0)
    low = _share_at(hits, calls, alpha) if hits else 0.0
    high = 1 - _share_at(calls - hits, calls, alpha) if hits < calls else 1.0
    return ShareBounds(hits / calls, low, high)


def least_calls(allowed: float, alpha: float) -> int:
    """How many calls without a hit it takes until `high` is at most `allowed`, which is above 0."""
    return 1 if allowed >= 1 else ceil(log(alpha) / log1p(-allowed))


def _share_at(hits: int, calls: int, alpha: float) -> float:
    """The share at which `hits` of the calls or more have the probability alpha; by halves."""
    low, high = 0.0, 1.0
    for _ in range(_HALVES):
        middle = (low + high) / 2
        if _at_least(hits, calls, middle) < alpha:
            low = middle
        else:
            high = middle
    return low


def _at_least(hits: int, calls: int, share: float) -> float:
    """The probability of so many hits or more, by the binomial distribution."""
    logs = (
        lgamma(calls + 1) - lgamma(k + 1) - lgamma(calls - k + 1)
        + k * log(share) + (calls - k) * log1p(-share)
        for k in range(hits, calls + 1)
    )  # fmt: skip
    return sum(map(exp, logs))
