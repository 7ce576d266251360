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
from loopwright_scorer.protocols.base import Reply

_LARGEST_HEAD = 32 << 10
"""Bytes of a request's line and headers, and of what may follow a body."""
_CLOSING_SECONDS = 1.0
"""How long a client has to read why its connection ends, before it is reset."""
_DRAINING_SECONDS = 0.25
"""How long a connection without a request is kept when the server stops: one may be on its way."""


class HardenedHttpProtocol(HttpToolsProtocol):
    """HTTP with the limits of the `ProtocolRouter` behind it."""

    limiting_router: ClassVar[ProtocolRouter | None] = None
    """Where it is not the app itself."""
    url = b""
    _began: float | None = None
    """When the client began a request that is not whole."""
    _stalled: float | None = None
    """When it was first seen not to take its answer."""
    _unparsed = 0
    """Bytes received since the last of a body, or the end of a request."""
    _error: LoopwrightError | None = None
    """Why the connection ends, whatever is asked."""
    _is_refusing = False
    """Whether the client has been told so, and what it sends is not looked at."""
    _is_stopping = False
    _defaults: tuple[object, bytes] = ((), b"")

    @cached_property
    def router(self) -> ProtocolRouter | None:
        return self.app if isinstance(self.app, ProtocolRouter) else self.limiting_router

    @cached_property
    def _connection_limits(self) -> ConnectionLimits | None:
        return self.router.connection_limits if self.router is not None else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self.loop.time()
        if self._connection_limits is not None and not self._connection_limits.register(
            self, transport.abort
        ):
            self._error = OverloadedError(
                "there are too many connections; come again, add replicas, or raise"
                " LOOPWRIGHT_SCORER_MAX_CONNECTIONS"
            )
            self.loop.call_later(_CLOSING_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._connection_limits is not None:
            self._connection_limits.unregister(self)

    def data_received(self, data: bytes) -> None:
        if self._is_refusing:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > _LARGEST_HEAD:
            self._close_with(TooLargeError(f"the headers have more than {_LARGEST_HEAD} bytes"))

    def on_message_begin(self) -> None:
        self._began = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._error is not None:
            self._close_with(self._error)
            return
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if not self._is_refusing:
            self._unparsed = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_refusing:
            self._began, self._unparsed = None, 0
            super().on_message_complete()

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
        if self._is_free() and self.router is not None:
            self.write(self.router.refuse(self.url, error), keep=False)
        self.loop.call_later(_CLOSING_SECONDS, self.transport.abort)

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
