"""Settings of the monitor."""

from datetime import timedelta
from typing import ClassVar

from loopwright_common.settings import ServiceSettings


class MonitorSettings(ServiceSettings):
    service: ClassVar[str] = "monitor"
    port: int = 8005
    label_horizon: timedelta = timedelta(days=30)
    """Labels that come later than this after their prediction are not counted any more."""
