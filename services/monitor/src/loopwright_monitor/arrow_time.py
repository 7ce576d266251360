"""Microseconds since 1970, as Arrow keeps time, and aware datetimes."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def datetime_of(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
