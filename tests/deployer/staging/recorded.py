"""Recorded calls to stage with."""

from collections.abc import Iterable
from typing import Any

from loopwright_deployer.deployments.margin import Margin
from loopwright_deployer.staging.checks.base import RecordedTraffic
from loopwright_deployer.staging.evaluation.recorded_calls import (
    InputTypes,
    RecordedCall,
    RecordedCalls,
)

MARGIN = Margin(1.5, 0.1)


def recorded(
    calls: Iterable[RecordedCall] = (),
    set_aside: Iterable[str] = (),
    redacted: Iterable[str] = (),
) -> RecordedTraffic:
    """With the default margin of a canary."""

    async def read(_inputs: InputTypes) -> RecordedCalls:
        return RecordedCalls(list(calls), list(set_aside))

    return RecordedTraffic(read, MARGIN, frozenset(redacted))


def call(number: int, redacted: Iterable[str] = (), **inputs: list[Any]) -> RecordedCall:
    """One call at a second of its own."""
    at = f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00"
    return RecordedCall(f"call-{number}", at, dict(inputs), frozenset(redacted))
