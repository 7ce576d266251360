"""The story: from the archive's events and the rows served to what happened and whether it held."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loopwright.data_dir import Engine
from loopwright.demo.client.archive_watch import WatchedEvent
from loopwright.demo.client.served_rows import ServedRows
from loopwright.demo.story.champion_periods import Period, by_champion, by_rows, period
from loopwright_common.cloudevents import summarize


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """One event as the story tells it; `seconds` since the start, `row` of the stream."""

    seconds: float
    row: int
    topic: str
    summary: str
    causes: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the loop closed honestly; `missing` says what it lacks."""

    promoted: list[int]
    promoted_by_drift: list[int]
    since_drift: Period | None
    missing: list[str]

    @property
    def passed(self) -> bool:
        return not self.missing


@dataclass(frozen=True, slots=True)
class Story:
    """Everything the demo ends with."""

    events: list[StoryEvent]
    runs: list[Mapping[str, Any]]
    validations: list[Mapping[str, Any]]
    champion_periods: list[Period]
    periods: list[Period]
    judgement: Judgement
    counted: Mapping[str, int]
    served: ServedRows
    promotions: list[tuple[int, int]]
    engine: Engine


def build_story(
    events: Sequence[WatchedEvent],
    served: ServedRows,
    started: datetime,
    counted: Mapping[str, int],
    engine: Engine = Engine.EMBEDDED,
) -> Story:
    """The story of a stream that was sent to its end."""
    promotions = [
        (int(event.data["version"]), served.rows_before(event.time))
        for event in _of(events, "deployment-promoted")
    ]
    return Story(
        events=_story_events(events, served, started),
        runs=[event.data for event in _of(events, "training-finished")],
        validations=[event.data for event in _of(events, "deployment-validated")],
        champion_periods=by_champion(served, promotions),
        periods=by_rows(served),
        judgement=judge(events, served),
        counted=counted,
        served=served,
        promotions=promotions,
        engine=engine,
    )


def judge(events: Sequence[WatchedEvent], served: ServedRows) -> Judgement:
    """Whether the loop closed.

    That takes two promotions, one of them by drift, and losses below version 1's on all rows
    after it.
    """
    by_id = {event.id: event for event in events}
    promotions = list(_of(events, "deployment-promoted"))
    by_drift = [event for event in promotions if comes_from(event, by_id, "drift-detected")]
    since = None
    if by_drift and (first := served.rows_before(by_drift[0].time)) < len(served.yes):
        since = period("since the first promotion by drift", served, first, len(served.yes))
    return Judgement(
        promoted=[int(event.data["version"]) for event in promotions],
        promoted_by_drift=[int(event.data["version"]) for event in by_drift],
        since_drift=since,
        missing=_missing(len(promotions), since),
    )


def comes_from(event: WatchedEvent, by_id: Mapping[str, WatchedEvent], topic: str) -> bool:
    """Whether an event of this topic is among the causes of the causes."""
    unseen, seen = list(event.causes), set[str]()
    while unseen:
        cause = by_id.get(unseen.pop())
        if cause is None or cause.id in seen:
            continue
        if cause.topic == topic:
            return True
        seen.add(cause.id)
        unseen += cause.causes
    return False


def _missing(promotions: int, since_drift: Period | None) -> list[str]:
    missing = []
    if promotions < 2:
        missing.append(f"two versions promoted (there were {promotions})")
    if since_drift is None:
        missing.append("a version promoted because of drift")
    elif not since_drift.gain[0] > 0:
        low, high = since_drift.gain
        missing.append(
            f"a clear gain over version 1 (95 % interval of the gain {low:.4f} to {high:.4f})"
        )
    return missing


def _story_events(
    events: Sequence[WatchedEvent], served: ServedRows, started: datetime
) -> list[StoryEvent]:
    by_id = {event.id: event for event in events}
    return [
        StoryEvent(
            seconds=(event.time - started).total_seconds(),
            row=served.rows_before(event.time),
            topic=event.topic,
            summary=summarize(event.event),
            causes=", ".join(_causes(event, by_id, started)),
        )
        for event in sorted(events, key=lambda event: event.time)
    ]


def _causes(
    event: WatchedEvent, by_id: Mapping[str, WatchedEvent], started: datetime
) -> Iterator[str]:
    for cause_id in event.causes:
        if not (cause := by_id.get(cause_id)):
            continue
        yield f"{cause.topic} {clock((cause.time - started).total_seconds())}"


def clock(seconds: float) -> str:
    """Minutes and seconds since the start."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _of(events: Sequence[WatchedEvent], topic: str) -> Iterator[WatchedEvent]:
    return (event for event in events if event.topic == topic)
