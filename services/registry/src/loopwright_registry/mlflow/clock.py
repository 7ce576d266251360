"""Time as MLflow writes it."""

from loopwright_common import clock


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return int(clock.now().timestamp() * 1000)
