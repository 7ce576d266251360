"""An archived event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedEvent:
    """`body` is the event in structured CloudEvents JSON; positions grow as events arrive."""

    position: int
    id: str
    topic: str
    subject: str
    time: str
    causes: Sequence[str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedEvent:
    """One line of a story: what happened, in a sentence, and what it followed from."""

    id: str
    type: str
    time: str
    subject: str
    sentence: str
    causes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLimits:
    """How many may follow at once, and after how many seconds of silence they hear a heartbeat.

    What other replicas archive is looked for every `poll` seconds.
    """

    max_followers: int = 100
    per_client: int = 20
    heartbeat: float = 15.0
    poll: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which archived events: all that is given must match, any of the types (topics)."""

    types: Sequence[str] = ()
    subject: str | None = None
    model: str | None = None
