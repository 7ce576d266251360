from datetime import UTC, datetime, timedelta

import pytest

from loopwright_deployer.deployments.retry_schedule import Outage, next_retry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("lasted", "pause"), [(0, 1), (0.5, 1), (8, 8), (200, 200), (1000, 300), (3500, 100)]
)
def test_a_pause_is_as_long_as_the_outage_up_to_five_minutes_and_the_end(
    lasted: float, pause: float
) -> None:
    now = NOON + timedelta(seconds=lasted)

    assert next_retry(NOON, now, HOUR) == Outage(NOON, now + timedelta(seconds=pause), NOON + HOUR)


def test_at_the_limit_there_is_no_other_try() -> None:
    assert next_retry(NOON, NOON + HOUR, HOUR) is None
    assert next_retry(NOON, NOON, timedelta()) is None
