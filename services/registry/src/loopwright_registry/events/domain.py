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
class Told:
    """One line of a story: what happened, in a sentence, and what it followed from."""

    id: str
    type: str
    time: str
    subject: str
    sentence: str
    causes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which archived events: all that is not None must match."""

    type: str | None = None
    subject: str | None = None
    model: str | None = None
