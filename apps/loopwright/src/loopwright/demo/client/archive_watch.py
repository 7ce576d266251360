"""Follows the archive of events over HTTP and knows what is going on from them alone."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from loopwright.client import complaint
from loopwright_common.errors import UnavailableError
from loopwright_common.events import TYPE_PREFIX

_PERIOD = 0.2
_COUNTED = frozenset({"ground-truth-logged", "performance-measured"})
"""Too many to tell one by one."""


@dataclass(frozen=True, slots=True)
class WatchedEvent:
    """One archived event, as the demo needs it."""

    id: str
    topic: str
    time: datetime
    causes: tuple[str, ...]
    data: Mapping[str, Any]
    event: Mapping[str, Any]


@dataclass(slots=True)
class ArchiveWatch:
    """All events so far; `busy` while a run or a deployment is in flight.

    A deployment that waits for a person keeps nobody busy.
    """

    http: httpx.AsyncClient
    registry: str
    on_event: Callable[[WatchedEvent], None]
    events: list[WatchedEvent] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    champion: int | None = None
    training: str | None = None
    deploying: int | None = None
    paused: bool = False
    _after: str | None = None

    @property
    def busy(self) -> bool:
        return self.training is not None or (self.deploying is not None and not self.paused)

    @property
    def state(self) -> str:
        if self.deploying is not None:
            return f"version {self.deploying} {'paused' if self.paused else 'on its way'}"
        return f"training ({self.training})" if self.training else "watching"

    async def follow(self) -> None:
        """Read new events until cancelled; UnavailableError while the registry does not answer."""
        while True:
            await self.read_new()
            await asyncio.sleep(_PERIOD)

    async def read_new(self) -> None:
        """Read everything that is new; UnavailableError while the registry does not answer."""
        params = {"limit": "500"} | ({"after": self._after} if self._after else {})
        answer = await self.http.get(f"{self.registry}/v1/events", params=params)
        if answer.is_error:
            raise UnavailableError(complaint("registry", answer))
        items = answer.json()["items"]
        for item in items:
            self._after = str(item["position"])
            self._handle(watched_event(item))

    def _handle(self, event: WatchedEvent) -> None:
        if event.topic in _COUNTED:
            self.counted[event.topic] = self.counted.get(event.topic, 0) + 1
            return
        self.events.append(event)
        self._update_state(event)
        self.on_event(event)

    def _update_state(self, event: WatchedEvent) -> None:
        match event.topic:
            case "code-changed":
                self.training = "commit"
            case "retrain-requested":
                self.training = str(event.data["reason"])
            case "training-finished":
                self.training = None
            case "model-registered":
                self.deploying = int(event.data["version"])
                self.paused = False
            case "deployment-changed" if event.data["version"] == self.deploying:
                self.paused = event.data["state"] == "paused"
            case "deployment-promoted":
                self.champion = int(event.data["version"])
            case "deployment-finished" if event.data["version"] == self.deploying:
                self.deploying = None
            case _:
                pass


def watched_event(item: Mapping[str, Any]) -> WatchedEvent:
    """A structured CloudEvent as the archive gives it."""
    causes = item.get("causes") or ""
    return WatchedEvent(
        id=str(item["id"]),
        topic=str(item["type"]).removeprefix(TYPE_PREFIX).removesuffix(".v1"),
        time=datetime.fromisoformat(item["time"]),
        causes=tuple(causes.split() if isinstance(causes, str) else causes),
        data=item["data"],
        event=item,
    )
