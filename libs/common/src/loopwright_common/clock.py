"""Time as the services write it: aware, UTC, microseconds."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)


def to_text(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds and a `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The time of an ISO 8601 text, in UTC; ValueError for another text."""
    return datetime.fromisoformat(text).astimezone(UTC)
