"""What the scorer's replicas say of a route: acknowledged by all that live, or why not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from loopwright_common.events import ReplicaReported, ServedRoute
from loopwright_common.wording import counted

SILENT_AFTER = timedelta(seconds=15)
LOADING_TIME = timedelta(seconds=10)
"""A replica that serves an older revision for longer, without a problem, has missed the newer."""


@dataclass(frozen=True, slots=True)
class PublishedRevision:
    """A route revision, published at `since`, and the version it brings if it brings one."""

    environment: str
    model_id: str
    revision: int
    since: datetime
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """`complete` when every live replica serves the revision; else `why`, and any `problem`."""

    complete: bool
    why: str
    problem: str | None = None
    tripped: str | None = None


def is_silent(report: ReplicaReported, now: datetime) -> bool:
    return now - report.at >= SILENT_AFTER


def missed_by(
    wanted: PublishedRevision, reports: Iterable[ReplicaReported], now: datetime
) -> list[str]:
    """Live replicas that should serve the revision by now and do not know of it."""
    return sorted(
        report.replica
        for report in reports
        if report.environment == wanted.environment
        and not is_silent(report, now)
        and report.at - wanted.since >= LOADING_TIME
        and _knows_less(_route(report, wanted), wanted)
    )


def harm_of(
    wanted: PublishedRevision, reports: Iterable[ReplicaReported], now: datetime
) -> str | None:
    """What the version does in a live replica that it should not, whatever revision that serves."""
    for report in reports:
        route = _route(report, wanted)
        if report.environment != wanted.environment or is_silent(report, now) or route is None:
            continue
        if harm := route.tripped.get(str(wanted.version)):
            return f"replica {report.replica}: {harm}"
    return None


def acknowledgement(
    wanted: PublishedRevision, reports: Iterable[ReplicaReported], now: datetime
) -> Acknowledgement:
    """Replicas silent for 15 s do not count; without any live one nothing is acknowledged."""
    ours = [report for report in reports if report.environment == wanted.environment]
    live = [report for report in ours if not is_silent(report, now)]
    if not live:
        return Acknowledgement(False, "no live scorer replica; waits for one")
    answers = [(report, _route(report, wanted)) for report in live]
    missing = [
        report.replica
        for report, route in answers
        if route is None or route.revision < wanted.revision or route.problems or route.waiting
    ]
    why = f"waits for {', '.join(sorted(missing))} to serve revision {wanted.revision}"
    # Only a report younger than the revision can speak of it.
    heard = [(r.replica, route) for r, route in answers if route and r.at >= wanted.since]
    if reason := _reason(wanted, ((replica, route.waiting) for replica, route in heard)):
        why = f"{why}: {reason}"
    return Acknowledgement(
        not missing,
        why if missing else f"served by {counted(len(live), 'live replica')}",
        _reason(wanted, ((replica, route.problems) for replica, route in heard)),
        next((t for _, route in answers if route and (t := _circuit_opened(route, wanted))), None),
    )


def _route(report: ReplicaReported, wanted: PublishedRevision) -> ServedRoute | None:
    return next((r for r in report.routes if r.model_id == wanted.model_id), None)


def _knows_less(route: ServedRoute | None, wanted: PublishedRevision) -> bool:
    return route is None or (
        route.revision < wanted.revision and not route.problems and not route.waiting
    )


def _reason(
    wanted: PublishedRevision, reported: Iterable[tuple[str, Mapping[str, str]]]
) -> str | None:
    """The first that a replica has told of the version."""
    for replica, by_version in reported:
        if reason := by_version.get(str(wanted.version)):
            return f"replica {replica} cannot serve it: {reason}"
    return None


def _circuit_opened(route: ServedRoute, wanted: PublishedRevision) -> str | None:
    if route.revision < wanted.revision:
        return None
    return route.tripped.get(str(wanted.version))
