"""Answers of the archive's API."""

from typing import Any

from pydantic import BaseModel


class EventsOut(BaseModel):
    """Structured CloudEvents, each with its `position`; `next` is the `after` of the next call."""

    items: list[dict[str, Any]]
    next: int | None


class ExplainedEventOut(BaseModel):
    id: str
    type: str
    time: str
    subject: str
    sentence: str
    causes: list[str]


class WhyOut(BaseModel):
    model: str
    version: int
    aliases: list[str]
    items: list[ExplainedEventOut]
    next: None = None
