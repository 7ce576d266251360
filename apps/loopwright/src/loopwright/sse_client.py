"""Following the registry's events over Server-Sent Events, across its restarts."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from loopwright.client import CallError, absent, complaint, url_of

PATH = "/v1/events/stream"
Query = Sequence[tuple[str, str]]
_TIMEOUT = httpx.Timeout(10, read=60)
"""The stream breaks a silence every 15 seconds, so a minute of it means that it is dead."""


@dataclass
class ServerSentEvent:
    """One block of the stream; what it does not report is empty."""

    id: str = ""
    data: str = ""
    retry: str = ""


class EventStreamClient:
    """Where a reader stands in the events; `report` gets a line when the registry goes or comes."""

    def __init__(self, query: Query, report: Callable[[str], None]) -> None:
        self._query = query
        self._report = report
        self._last_id = ""
        self._retry_seconds = 2.0
        self._away = False

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Each event once, in order, with its `position`, for ever; CallError when refused."""
        while True:
            try:
                yield from self._connected()
            except httpx.TransportError as error:
                self._lost(absent("registry", url_of("registry"), error))
            time.sleep(self._retry_seconds)

    def _connected(self) -> Iterator[Mapping[str, Any]]:
        """The events of one connection."""
        resumed = {"Last-Event-ID": self._last_id} if self._last_id else {}
        with httpx.stream(
            "GET",
            url_of("registry") + PATH,
            params=tuple(self._query),
            headers=resumed,
            timeout=_TIMEOUT,
        ) as response:
            if response.is_error:
                self._refused(response)
                return
            self._found()
            for block in server_sent_events(response.iter_lines()):
                self._last_id = block.id or self._last_id
                self._retry_seconds = float(block.retry or self._retry_seconds * 1000) / 1000
                if block.data:
                    yield {"position": int(block.id), **json.loads(block.data)}

    def _refused(self, response: httpx.Response) -> None:
        response.read()
        if response.status_code < 500:
            raise CallError(complaint("registry", response), response.status_code)
        self._lost(complaint("registry", response))

    def _lost(self, why: str) -> None:
        if not self._away:
            self._report(f"{why}; trying again")
        self._away = True

    def _found(self) -> None:
        if self._away:
            self._report("the registry answers again")
        self._away = False


def server_sent_events(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """The blocks of a stream; a block that breaks off is dropped."""
    block = ServerSentEvent()
    for line in lines:
        name, _, value = line.partition(":")
        if not line:
            yield block
            block = ServerSentEvent()
        elif name == "data":
            block.data += value.removeprefix(" ")
        elif name in ("id", "retry"):
            setattr(block, name, value.removeprefix(" "))
