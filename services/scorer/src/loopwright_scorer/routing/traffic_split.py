"""Which arm answers a routing key: pure rules."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple


class TrafficShare(NamedTuple):
    """A live arm's part of the traffic; `weight` in [0, 1]."""

    version: int
    weight: float


def hash_position(model: str, key: str) -> float:
    """Where a routing key falls in [0, 1): the same on every replica, independent per model."""
    digest = blake2b(f"{model}\0{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def in_traffic_order(listed: Sequence[TrafficShare]) -> tuple[TrafficShare, ...]:
    """Those with traffic, the last listed first: it joined last and takes the low end of the range.

    Routes list the champion first, so a growing canary keeps every key it has and only gains keys.
    """
    return tuple(share for share in reversed(listed) if share.weight > 0)


def select_version(shares: Sequence[TrafficShare], at: float) -> int:
    """The version whose part of the range holds `at`; `shares` as `in_traffic_order` gives them."""
    edge = 0.0
    for share in shares:
        edge += share.weight
        if at < edge:
            return share.version
    return shares[-1].version


def fallback_version(shares: Sequence[TrafficShare], closed: int) -> int:
    """The version that answers in place of a tripped one: the heaviest of the others."""
    return max((s for s in shares if s.version != closed), key=lambda s: s.weight).version
