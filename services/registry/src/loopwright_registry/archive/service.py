"""Why a version is where it is: its events and their causes, back to a commit or a drift."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.cloudevents import summarize
from loopwright_registry.archive.domain import ArchivedEvent, ExplainedEvent
from loopwright_registry.archive.repository import Archive
from loopwright_registry.models.domain import subject_of

ROOTS = ("code-changed", "drift-detected")
TELLING = (
    "training-finished",
    "model-registered",
    "deployment-validated",
    "approval-requested",
    "deployment-changed",
    "promotion-requested",
    "promotion-refused",
    "deployment-promoted",
    "deployment-rolled-back",
    "deployment-finished",
    "alias-changed",
    "version-deleted",
    "drift-detected",
)
_LONGEST_CHAIN = 100


async def why(
    connection: AsyncConnection, model: str, version: int, registered: str | None
) -> list[ExplainedEvent]:
    """Explain a version by its events in the order of their times, at most 100 causes back.

    `registered` is the id of the version's first event.
    """
    archive = Archive(connection)
    named = await archive.events_about(model, version, subject_of(model, version), TELLING)
    about = [event for event in named if _is_telling(event)]
    before = await _causes(archive, [registered] if registered else [])
    moved = [cause for event in about if event.topic == "alias-changed" for cause in event.causes]
    events = {event.id: event for event in [*before, *about, *await archive.get_many(moved)]}
    ordered = sorted(events.values(), key=lambda event: (event.time, event.position))
    return [_explained(event) for event in ordered]


def _is_telling(event: ArchivedEvent) -> bool:
    """A deployment's changes but its pauses are told by other events."""
    if event.topic != "deployment-changed":
        return True
    return str(event.body["data"]["state"]) == "paused"


async def _causes(archive: Archive, ids: Sequence[str]) -> list[ArchivedEvent]:
    """The events and what led to them, up to the roots."""
    seen: dict[str, ArchivedEvent] = {}
    unread = list(ids)
    while unread and len(seen) < _LONGEST_CHAIN:
        found = await archive.get_many(unread)
        seen |= {event.id: event for event in found}
        causes = {cause for event in found if event.topic not in ROOTS for cause in event.causes}
        unread = sorted(causes - seen.keys())
    return list(seen.values())


def _explained(event: ArchivedEvent) -> ExplainedEvent:
    return ExplainedEvent(
        id=event.id,
        type=event.topic,
        time=event.time,
        subject=event.subject,
        sentence=summarize(event.body) or event.topic.replace("-", " "),
        causes=event.causes,
    )
