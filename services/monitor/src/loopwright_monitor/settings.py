"""Settings of the monitor."""

from datetime import timedelta
from typing import ClassVar

from loopwright_common.settings import ServiceSettings


class MonitorSettings(ServiceSettings):
    """Settings from `LOOPWRIGHT_MONITOR_...` in the environment."""

    service: ClassVar[str] = "monitor"
    port: int = 8005
    label_horizon: timedelta = timedelta(days=35)
    """Labels that come later than this after their prediction are not counted any more."""
    run_timeout: timedelta = timedelta(hours=1)
    """A retraining that was asked for and has not reported by then counts as failed."""
    measure_every: timedelta = timedelta(seconds=10)
    """How old the figures of `/metrics` may be."""
