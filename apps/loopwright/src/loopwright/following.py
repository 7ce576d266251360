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
class Block:
    """One block of the stream; what it does not say is empty."""

    id: str = ""
    data: str = ""
    retry: str = ""


class Follower:
    """Where a reader stands in the events; `say` hears of the registry's going and coming."""

    def __init__(self, query: Query, say: Callable[[str], None]) -> None:
        self._query = query
        self._say = say
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
        """What one connection tells."""
        resumed = {"Last-Event-ID": self._last_id} if self._last_id else {}
        with httpx.stream(
            "GET",
            url_of("registry") + PATH,
            params=tuple(self._query),
            headers=resumed,
            timeout=_TIMEOUT,
        ) as answer:
            if answer.is_error:
                self._refused(answer)
                return
            self._found()
            for block in blocks(answer.iter_lines()):
                self._last_id = block.id or self._last_id
                self._retry_seconds = float(block.retry or self._retry_seconds * 1000) / 1000
                if block.data:
                    yield {"position": int(block.id), **json.loads(block.data)}

    def _refused(self, answer: httpx.Response) -> None:
        answer.read()
        if answer.status_code < 500:
            raise CallError(complaint("registry", answer), answer.status_code)
        self._lost(complaint("registry", answer))

    def _lost(self, why: str) -> None:
        if not self._away:
            self._say(f"{why}; trying again")
        self._away = True

    def _found(self) -> None:
        if self._away:
            self._say("the registry answers again")
        self._away = False


def blocks(lines: Iterable[str]) -> Iterator[Block]:
    """The blocks of a stream; a block that breaks off is dropped."""
    block = Block()
    for line in lines:
        name, _, value = line.partition(":")
        if not line:
            yield block
            block = Block()
        elif name == "data":
            block.data += value.removeprefix(" ")
        elif name in ("id", "retry"):
            setattr(block, name, value.removeprefix(" "))
