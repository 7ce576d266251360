"""Closed times, by the clock of a place that is put forward and back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from loopwright_common.deploy_policy import WindowsPolicy
from loopwright_deployer.deployments.windows import closed_until, wait_sentence

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Window = Mapping[str, object]
NIGHTS: Window = {"days": ["mon", "tue", "wed", "thu"], "begin": "18:00", "end": "08:00"}
WEEKEND = {"days": ["fri"], "begin": "16:00"}, {"days": ["sat", "sun"]}


def policy(zone: str, closed: Sequence[Window]) -> WindowsPolicy:
    """Windows of every day, unless they say which."""
    windows = [{"days": EVERY_DAY, **window} for window in closed]
    return WindowsPolicy.model_validate({"zone": zone, "closed": windows})


def told(closed: Sequence[Window], at: str, zone: str = "Europe/Berlin") -> str | None:
    windows = policy(zone, closed)
    until = closed_until(windows, datetime.fromisoformat(at).astimezone(UTC))
    return until.isoformat() if until else None


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-01-05T17:59:59+01:00", None),
        ("2026-01-05T18:00:00+01:00", "2026-01-06T08:00:00+01:00"),
        ("2026-01-06T07:59:59+01:00", "2026-01-06T08:00:00+01:00"),
        ("2026-01-06T08:00:00+01:00", None),
        ("2026-01-09T07:00:00+01:00", "2026-01-09T08:00:00+01:00"),
        ("2026-01-09T16:00:00+01:00", "2026-01-12T00:00:00+01:00"),
        ("2026-01-11T23:59:59.9+01:00", "2026-01-12T00:00:00+01:00"),
        ("2026-01-12T00:00:00+01:00", None),
    ],
)
def test_nights_and_weekends_are_closed_until_they_end(at: str, until: str | None) -> None:
    assert told([NIGHTS, *WEEKEND], at) == until


def test_closed_times_that_meet_are_one() -> None:
    met = [{"begin": "01:00", "end": "02:00"}, {"begin": "02:00", "end": "02:30"}]

    assert told(met, "2026-01-05T01:10:00+00:00", "UTC") == "2026-01-05T02:30:00+00:00"


@pytest.mark.parametrize(
    ("window", "at", "until"),
    [
        # At 02:00 of 29 March 2026 clocks are put forward to 03:00.
        (("01:00", "02:30"), "2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"),
        (("02:00", "02:30"), "2026-03-29T03:00:00+02:00", None),
        (("01:00", "03:30"), "2026-03-29T01:59:00+01:00", "2026-03-29T03:30:00+02:00"),
        (("18:00", "08:00"), "2026-03-28T20:00:00+01:00", "2026-03-29T08:00:00+02:00"),
        # At 03:00 of 25 October 2026 they are put back to 02:00.
        (("02:00", "02:30"), "2026-10-25T02:10:00+02:00", "2026-10-25T02:30:00+02:00"),
        (("02:00", "02:30"), "2026-10-25T02:40:00+02:00", None),
        (("02:00", "02:30"), "2026-10-25T02:10:00+01:00", "2026-10-25T02:30:00+01:00"),
        (("02:30", "03:00"), "2026-10-25T02:40:00+02:00", "2026-10-25T02:00:00+01:00"),
        (("01:00", "03:00"), "2026-10-25T02:59:00+02:00", "2026-10-25T03:00:00+01:00"),
        (("18:00", "08:00"), "2026-10-24T20:00:00+02:00", "2026-10-25T08:00:00+01:00"),
    ],
)
def test_what_is_closed_follows_the_clock_where_it_is_put_forward_and_back(
    window: tuple[str, str], at: str, until: str | None
) -> None:
    begin, end = window

    assert told([{"begin": begin, "end": end}], at) == until


@pytest.mark.parametrize(
    ("at", "until"),
    [
        # East of Greenwich the clock jumps on the day before, by that of Greenwich.
        ("2026-09-27T01:30:00+12:00", "2026-09-27T03:00:00+13:00"),
        ("2026-04-05T01:30:00+13:00", "2026-04-05T02:30:00+13:00"),
        ("2026-04-05T02:10:00+12:00", "2026-04-05T02:30:00+12:00"),
    ],
)
def test_a_jump_of_the_clock_is_found_wherever_the_place_is(at: str, until: str) -> None:
    assert told([{"begin": "01:00", "end": "02:30"}], at, "Pacific/Auckland") == until


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_it_opens_at_the_first_open_minute(zone: str) -> None:
    closed = [NIGHTS, *WEEKEND, {"begin": "01:45", "end": "02:15"}]
    windows = policy(zone, closed)
    minutes = range(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), 2_000_000_000, 60)
    for start in range(0, 365 * 24 * 60, 997):
        now = datetime.fromtimestamp(minutes[start], UTC)
        first = start
        while windows.is_closed(datetime.fromtimestamp(minutes[first], UTC)):
            first += 1

        until = closed_until(windows, now)

        assert (until or now) == datetime.fromtimestamp(minutes[first], UTC)


def test_the_sentence_has_the_day_the_time_and_the_place() -> None:
    windows = policy("Europe/Berlin", WEEKEND)
    until = closed_until(windows, datetime(2026, 1, 10, 12, tzinfo=UTC))

    assert until is not None
    assert wait_sentence(until) == (
        "waits until Mon 00:00 Europe/Berlin: closed by `windows` of its policy"
    )
