"""uvicorn's HTTP protocol for clients that mean no good, or are simply slow.

uvicorn itself waits for ever, for a request as for an answer to be taken, keeps headers of any
length, as many connections as the system lets it, and answers whoever asks as often as he likes.
"""

import asyncio
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar, Self
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from loopwright_common.errors import (
    HeadTooLargeError,
    LoopwrightError,
    MalformedRequestError,
    OverloadedError,
    SlowClientError,
    TooManyRequestsError,
)
from loopwright_common.web.client_rates import ClientRate
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.request_body import STEADY_BYTES

_LARGEST_HEAD = 32 << 10
"""Bytes of a request's line and headers, and of what may follow a body."""
_CLOSING_SECONDS = 1.0
"""How long a client has to read why its connection ends, before it is reset."""
_DRAINING_SECONDS = 0.25
"""How long a connection without a request is kept when the server stops: one may be on its way."""


def server_config(app: ASGIApp, http: type["HardenedHttpProtocol"], **more: Any) -> uvicorn.Config:
    """For a server that speaks only this HTTP, logs nothing itself, and leaves start-up to us."""
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        proxy_headers=False,  # a client could name any address as its own
        log_config=None,
        access_log=False,
        lifespan="off",
        **more,
    )


class HardenedHttpProtocol(HttpToolsProtocol):
    """HTTP with the limits of a guard; without one it has limits of its own only."""

    guard: ClassVar[RequestGuard | None] = None
    url = b""
    _began: float | None = None
    """When the client began a request that is not whole, or last sent a good part of it."""
    _stalled: float | None = None
    """When it was first seen not to take its answer."""
    _unparsed = 0
    """Bytes received since the last of a body, or the end of a request."""
    _steady = 0
    """Bytes of a body received since `_began`."""
    _is_handed_on = False
    """Whether the request that comes has an app that answers it."""
    _error: LoopwrightError | None = None
    """Why the connection ends, whatever is asked."""
    _is_refusing = False
    """Whether the client has been told so, and what it sends is not looked at."""
    _is_stopping = False
    _defaults: tuple[object, bytes] = ((), b"")

    @classmethod
    def guarded_by(cls, guard: RequestGuard) -> type[Self]:
        """The protocol with a guard, whatever app is behind it."""
        return type(cls.__name__, (cls,), {"guard": guard})

    @cached_property
    def _rate(self) -> ClientRate:
        if self.guard is None:
            return ClientRate(math.inf)
        return self.guard.rates.of(self.client[0] if self.client else "", self.loop.time())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self.loop.time()
        if self.guard is None or self.guard.connections.register(self, transport.abort):
            return
        self._error = OverloadedError(
            "there are too many connections; come again, add replicas, or raise"
            f" {self.guard.connections.setting}"
        )
        self.loop.call_later(_CLOSING_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.guard is not None:
            self.guard.connections.unregister(self)

    def data_received(self, data: bytes) -> None:
        if self._is_refusing:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > _LARGEST_HEAD:
            self._close_with(_head_too_large())

    def on_message_begin(self) -> None:
        self._began, self._steady, self._is_handed_on = self.loop.time(), 0, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if error := self._error or self._head_error():
            self._close_with(error)
            return
        self._rate.count(self.loop.time())
        self._is_handed_on = True
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._is_refusing:
            return
        self._unparsed = 0
        self._steady += len(body)
        if self._steady >= STEADY_BYTES:
            self._began, self._steady = self.loop.time(), 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_refusing:
            self._began, self._unparsed, self._is_handed_on = None, 0, False
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self.guard is None:
            super().send_400_response(msg)
            return
        self._abandon_request()
        self._close_with(MalformedRequestError("the request is no HTTP/1.1 that can be read"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = None

    def enforce_timeout(self, now: float, timeout: float) -> None:
        """End the connection where its client lets us wait for longer than `timeout` seconds."""
        if self.transport.is_closing() and self._stalled is None:
            self._stalled = now
        if self._stalled is not None and now - self._stalled > timeout:
            self.transport.abort()
        elif self._began is None or self.transport.is_closing():
            return
        elif self.flow.read_paused:
            self._began = now  # it is we who do not read
        elif self._is_free() and now - self._began > timeout:
            self._close_with(SlowClientError(f"the request did not come within {timeout:g} s"))
        elif now - self._began > 1.5 * timeout:  # the app had its time to say so
            self.transport.abort()

    def shutdown(self) -> None:
        """Answer what comes for a moment more, and say that it was the last."""
        self._is_stopping = True
        if not self._is_free():
            super().shutdown()
        elif self._is_refusing:
            self.transport.close()
        else:
            self.loop.call_later(_DRAINING_SECONDS, self._end_if_idle)

    def _head_error(self) -> LoopwrightError | None:
        """Why a request is not answered whose head is known."""
        size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        if size > _LARGEST_HEAD:
            return _head_too_large()
        seconds = math.ceil(self._rate.wait(self.loop.time()))
        if not seconds:
            return None
        return TooManyRequestsError(
            f"more requests come from this address than are taken; come again in {seconds} s, or"
            " raise LOOPWRIGHT_REQUEST_RATE",
            seconds,
        )

    def _is_free(self) -> bool:
        """Whether every earlier request of this connection has been answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _is_idle(self) -> bool:
        return not self._unparsed and self._is_free()

    def _end_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _close_with(self, error: LoopwrightError) -> None:
        """Say why, and end the connection; at once would lose the answer on its way."""
        if self._is_refusing:
            return
        self._error, self._is_refusing = error, True
        if self._is_free() and self.guard is not None and not self._is_handed_on:
            self._write_response(self.guard.refuse(self._path(), error))
        self.loop.call_later(_CLOSING_SECONDS, self.transport.abort)

    def _abandon_request(self) -> None:
        """Leave the request that never becomes whole; its app learns that the client is gone."""
        cycle: RequestResponseCycle | None = self.cycle
        is_next = self._is_handed_on and not self.pipeline
        if is_next and cycle is not None and not cycle.response_started:
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
            self._is_handed_on = False

    def _path(self) -> str:
        """What is asked for, as an app is told it: decoded, also of a URL with scheme and host."""
        try:
            path = httptools.parse_url(self.url).path or b""
        except httptools.HttpParserError:
            path = self.url.partition(b"?")[0]
        return unquote(path.decode("latin-1"))

    def _write_response(self, answer: Response) -> None:
        """The last one of this connection."""
        ours = (b"content-length", b"connection")
        headers = [pair for pair in answer.raw_headers if pair[0] not in ours]
        self.write(answer.status_code, bytes(answer.body), headers, keep=False)

    def write(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]], *, keep: bool
    ) -> None:
        """A whole answer; without `keep` the client is told that it is the connection's last."""
        lines = [STATUS_LINE[status], self._default_lines()]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if not keep:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        lines.append(body)
        self.transport.write(b"".join(lines))

    def _default_lines(self) -> bytes:
        """uvicorn's own headers; it makes them anew each second, for the date."""
        given, lines = self._defaults
        if given is not self.server_state.default_headers:
            given = self.server_state.default_headers
            lines = b"".join(b"%b: %b\r\n" % pair for pair in given)
            self._defaults = (given, lines)
        return lines


def _head_too_large() -> HeadTooLargeError:
    return HeadTooLargeError(f"the headers have more than {_LARGEST_HEAD:,} bytes")
