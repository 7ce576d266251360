"""uvicorn's HTTP protocol for clients that mean no good, or are simply slow.

uvicorn itself waits for ever, for a request as for an answer to be taken, keeps headers of any
length, and as many connections as the system lets it.
"""

import asyncio
from functools import cached_property
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from loopwright_common.errors import LoopwrightError, TooLargeError
from loopwright_scorer.errors import OverloadedError, SlowClientError
from loopwright_scorer.http_server.connections import ConnectionLimits
from loopwright_scorer.http_server.dispatcher import ProtocolRouter
from loopwright_scorer.protocols.request import Reply

_LARGEST_HEAD = 32 << 10
"""Bytes of a request's line and headers, and of what may follow a body."""
_FAREWELL_SECONDS = 1.0
"""How long a client has to read why its connection ends, before it is reset."""
_LAST_CALL_SECONDS = 0.25
"""How long a connection without a request is kept when the server stops: one may be on its way."""


class HardenedHttpProtocol(HttpToolsProtocol):
    """Has the limits of the `Door` behind it."""

    guarded_by: ClassVar[ProtocolRouter | None] = None
    """The door, where it is not the app itself."""
    url = b""
    _began: float | None = None
    """When the client began a request that is not whole."""
    _stuck: float | None = None
    """When it was first seen not to take its answer."""
    _headless = 0
    """Bytes received since the last of a body, or the end of a request."""
    _error: LoopwrightError | None = None
    """Why the connection ends, whatever is asked."""
    _is_over = False
    """Whether that has been said, and what comes is not looked at."""
    _is_stopping = False
    _defaults: tuple[object, bytes] = ((), b"")

    @cached_property
    def door(self) -> ProtocolRouter | None:
        return self.app if isinstance(self.app, ProtocolRouter) else self.guarded_by

    @cached_property
    def _watch(self) -> ConnectionLimits | None:
        return self.door.connections if self.door is not None else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self.loop.time()
        if self._watch is not None and not self._watch.add(self, transport.abort):
            self._error = OverloadedError(
                "there are too many connections; come again, add replicas, or raise"
                " LOOPWRIGHT_SCORER_CONNECTIONS"
            )
            self.loop.call_later(_FAREWELL_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.remove(self)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._headless += len(data)
        super().data_received(data)
        if self._headless > _LARGEST_HEAD:
            self._part_with(TooLargeError(f"the headers have more than {_LARGEST_HEAD} bytes"))

    def on_message_begin(self) -> None:
        self._began = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._error is not None:
            self._part_with(self._error)
            return
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if not self._is_over:
            self._headless = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_over:
            self._began, self._headless = None, 0
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck = None

    def look(self, now: float, patience: float) -> None:
        """End the connection where its client lets us wait for longer than `patience`, in s."""
        if self.transport.is_closing() and self._stuck is None:
            self._stuck = now
        if self._stuck is not None and now - self._stuck > patience:
            self.transport.abort()
        elif self._began is None or self.transport.is_closing():
            return
        elif self._is_free() and now - self._began > patience:
            self._part_with(SlowClientError(f"the request did not come within {patience:g} s"))
        elif now - self._began > 1.5 * patience:  # the app had its time to say so
            self.transport.abort()

    def shutdown(self) -> None:
        """Answer what comes for a moment more, and say that it was the last."""
        self._is_stopping = True
        if not self._is_free():
            super().shutdown()
        elif self._is_over:
            self.transport.close()
        else:
            self.loop.call_later(_LAST_CALL_SECONDS, self._end_if_idle)

    def _is_free(self) -> bool:
        """Whether every earlier request of this connection has been answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _is_idle(self) -> bool:
        return not self._headless and self._is_free()

    def _end_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _part_with(self, error: LoopwrightError) -> None:
        """Say why, and end the connection; at once would lose the answer on its way."""
        if self._is_over:
            return
        self._error, self._is_over = error, True
        if self._is_free() and self.door is not None:
            self.write(self.door.refuse(self.url, error), keep=False)
        self.loop.call_later(_FAREWELL_SECONDS, self.transport.abort)

    def write(self, reply: Reply, *, keep: bool) -> None:
        """A whole answer; without `keep` the client is told that it is the connection's last."""
        lines = [STATUS_LINE[reply.status], self._default_lines()]
        for name, value in reply.headers:
            lines += (name, b": ", value, b"\r\n")
        if not keep:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-length: %d\r\n\r\n" % len(reply.body))
        lines.append(reply.body)
        self.transport.write(b"".join(lines))

    def _default_lines(self) -> bytes:
        """uvicorn's own headers; it makes them anew each second, for the date."""
        given, lines = self._defaults
        if given is not self.server_state.default_headers:
            given = self.server_state.default_headers
            lines = b"".join(b"%b: %b\r\n" % pair for pair in given)
            self._defaults = (given, lines)
        return lines
