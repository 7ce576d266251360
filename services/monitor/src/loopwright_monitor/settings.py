"""Settings of the monitor."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from loopwright_common.settings import Port, ServiceSettings


class MonitorSettings(ServiceSettings):
    """Settings from `LOOPWRIGHT_MONITOR_...` in the environment."""

    service: ClassVar[str] = "monitor"
    port: Port = 8005
    label_horizon: timedelta = Field(default=timedelta(days=35), gt=timedelta(0))
    """Labels that come later than this after their prediction are not counted any more."""
    run_timeout: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))
    """A retraining that was asked for and has not reported by then counts as failed."""
    measure_every: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How old the figures of `/metrics` may be."""
