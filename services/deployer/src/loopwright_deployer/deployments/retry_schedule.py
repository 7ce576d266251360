"""What a deployment does while the package index is away: tries again, and at last gives up."""

from dataclasses import dataclass
from datetime import datetime, timedelta

_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Outage:
    """Nobody works on the deployment before `retry_at`; the try at `deadline` is the last."""

    failing_since: datetime
    retry_at: datetime
    deadline: datetime


def next_retry(since: datetime, now: datetime, limit: timedelta) -> Outage | None:
    """The outage with its next try, after a pause as long as it has lasted, 5 minutes at most.

    None once it has lasted for `limit`.
    """
    deadline = since + limit
    if now >= deadline:
        return None
    pause = min(max(now - since, _SHORTEST), _LONGEST)
    return Outage(since, min(now + pause, deadline), deadline)
