"""Time as MLflow writes it."""

from loopwright_common import clock


def now_ms() -> int:
    """The time in milliseconds since 1970, UTC, as MLflow counts it."""
    return int(clock.now().timestamp() * 1000)
