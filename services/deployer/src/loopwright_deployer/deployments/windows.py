"""When nothing is promoted nor given more traffic, by the clock of a place; pure."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from loopwright_common.deploy_policy import DAYS, DeployPolicy, WindowsPolicy
from loopwright_common.errors import ConflictError
from loopwright_deployer.deployments.domain import Deployment
from loopwright_deployer.deployments.gates import Gate

_BY = "closed by `windows` of its policy"
_DAYS_AHEAD = 16
"""A week has an open time by its clock; where summer time leaves that out, the next one has it."""


def closed_until(windows: WindowsPolicy | None, now: datetime) -> datetime | None:
    """When the closed time that `now` lies in ends, in the zone of the windows; None while open.

    Windows are times of the clock that people see: an hour that comes twice in the autumn is closed
    twice, and one that is left out in the spring is closed not at all.
    """
    if windows is None or not windows.is_closed(now):
        return None
    ends = sorted(instant for instant in _changes(windows, now) if instant > now)
    return next(instant for instant in ends if not windows.is_closed(instant)).astimezone(
        ZoneInfo(windows.zone)
    )


def held_until(deployment: Deployment, policy: DeployPolicy, now: datetime) -> datetime | None:
    """As `closed_until`; None also where a person let the version past its windows."""
    return None if Gate.WINDOW in deployment.gates else closed_until(policy.windows, now)


def require_open(deployment: Deployment, policy: DeployPolicy, now: datetime) -> None:
    """ConflictError while the windows of its policy are closed, with what a person may do."""
    if until := held_until(deployment, policy, now):
        name = f"{deployment.model} version {deployment.version}"
        raise ConflictError(f"{name} {wait_sentence(until)}; skip the gate `window` before")


def wait_sentence(until: datetime) -> str:
    """What a deployment waits for, such as `waits until Mon 08:00 Europe/Berlin: ...`."""
    day = DAYS[until.weekday()].capitalize()
    return f"waits until {day} {until:%H:%M} {until.tzinfo}: {_BY}"


def was_held(deployment: Deployment) -> bool:
    """Whether what it waits for now, or waited for until now, is the end of a closed time."""
    return _BY in (deployment.waits or "")


def _changes(windows: WindowsPolicy, now: datetime) -> Iterator[datetime]:
    """The instants in UTC at which it may open: ends of windows, and jumps of the clock."""
    zone = ZoneInfo(windows.zone)
    # The day of UTC on which the clock jumps may be yesterday there.
    first = now.astimezone(zone).date() - timedelta(days=1)
    for day in (first + timedelta(days=ahead) for ahead in range(_DAYS_AHEAD)):
        yield from _jumps(day, zone)
        for window in windows.closed:
            end = datetime.combine(day, time()) + timedelta(minutes=window.end)
            for fold in (0, 1):
                yield end.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _jumps(day: date, zone: ZoneInfo) -> Iterator[datetime]:
    """The instant at which the clock is put forward or back on that day of UTC, if it is."""
    low = datetime.combine(day, time(), UTC)
    high = low + timedelta(days=1)
    before = low.astimezone(zone).utcoffset()
    if high.astimezone(zone).utcoffset() == before:
        return
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
        has_jumped = middle.astimezone(zone).utcoffset() != before
        low, high = (low, middle) if has_jumped else (middle, high)
    yield high
