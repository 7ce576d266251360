"""uvicorn's HTTP protocol with a fast path for inference calls that can be answered at once.

Such a call is whole in memory and computed in microseconds: a task and ASGI's messages would cost
more than its answer (docs/benchmarks.md). It is answered where its last byte is parsed. All other
requests, and these when they have to wait for anything, go through ASGI as always.

On a connection that is kept most heads are those of requests before, byte for byte. They are
looked up and not parsed again.
"""

from collections.abc import Sequence

from loopwright_common.web.hardened_http import HardenedHttpProtocol
from loopwright_scorer.http_server.dispatcher import ProtocolRouter
from loopwright_scorer.inference.executor import LOOP_BYTES
from loopwright_scorer.protocols.base import FastHandler, Reply

_COUNTED_TOGETHER = 16
"""Answers of a connection, of which each is worth less than the count."""


class FastPathProtocol(HardenedHttpProtocol):
    """Answers an app that is a `ProtocolRouter` itself; for any other it is uvicorn's own."""

    _parts: list[bytes] | None = None
    """The body so far of a request that may take the fast path."""
    _size = 0
    _handler: FastHandler | None = None
    """What answers it."""
    _has_to_wait = False
    """Whether that is known of the request that is parsed."""
    _chunk = b""
    """The bytes that are parsed, where a request begins with them."""
    _is_resting = False
    """Whether the last request was answered here, and nothing has come since."""
    _answered_at = 0.0
    _uncounted = 0
    """Answers here of which the client's rate does not know yet."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._count()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_resting:
            if self._is_answered(data):
                return
            self._chunk = data
        self._is_resting = False
        super().data_received(data)
        self._chunk, self._has_to_wait = b"", False
        # What will not be whole soon is refused early there, where it has to be.
        if self._parts is not None and self._declared_length() > LOOP_BYTES:
            self._fall_back(self._parts)

    def on_message_begin(self) -> None:
        self._is_resting = False
        self._began, self._steady = self.loop.time(), 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._handler = None if self._has_to_wait else self._find_handler()
        if self._handler is None:
            self._begin_asgi()
        else:
            self._parts, self._size = [], 0

    def on_body(self, body: bytes) -> None:
        if self._parts is None:
            super().on_body(body)
            return
        self._unparsed = 0
        self._parts.append(body)
        self._size += len(body)
        if self._size > LOOP_BYTES:
            self._fall_back(self._parts)

    def on_message_complete(self) -> None:
        if self._parts is not None and self._handler is not None:
            parts, body = self._parts, b"".join(self._parts)
            if reply := self._handler(body):
                self._parts = None
                self._began, self._unparsed = None, 0
                self._answer(reply, body, self._handler)
                return
            self._fall_back(parts)
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        remaining = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if remaining <= 0:
            super().timeout_keep_alive_handler()
        else:
            self._wait_for_more(remaining)

    def _is_answered(self, data: bytes) -> bool:
        """Whether it was a request with a known head that could be answered at once."""
        if not isinstance(self.app, ProtocolRouter) or not self._may_begin():
            return False
        is_known, reply = self.app.header_cache.answer(data)
        if reply is None:
            self._has_to_wait = is_known
            return False
        self._reply(reply, keep=not self._is_stopping)
        return True

    def _find_handler(self) -> FastHandler | None:
        app = self.app
        if not isinstance(app, ProtocolRouter) or not self._may_be_fast():
            return None
        return app.fast_handler(self.url, self.headers)

    def _may_begin(self) -> bool:
        return (
            self._error is None
            and not self.flow.write_paused
            and self._rate.open_at <= self.loop.time()
        )

    def _may_be_fast(self) -> bool:
        return (
            self._may_begin()
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and self._is_free()
            and not self.parser.should_upgrade()
            and self._head_error() is None
        )

    def _declared_length(self) -> int:
        """Bytes that the body will have; 0 where that is not said."""
        return int(next((value for name, value in self.headers if name == b"content-length"), 0))

    def _is_idle(self) -> bool:
        return self._parts is None and super()._is_idle()

    def _begin_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _fall_back(self, parts: Sequence[bytes]) -> None:
        self._parts = None
        self._begin_asgi()
        for part in parts:
            super().on_body(part)

    def _answer(self, reply: Reply, body: bytes, handler: FastHandler) -> None:
        keep = self.parser.should_keep_alive()
        if keep:
            self.app.header_cache.remember(self._chunk, len(body), handler)
        self._reply(reply, keep=keep and not self._is_stopping)

    def _reply(self, reply: Reply, *, keep: bool) -> None:
        self._uncounted += 1
        if self._uncounted == _COUNTED_TOGETHER:
            self._count()
        self.write(reply.status, reply.body, reply.headers, keep=keep)
        if keep:
            self._await_next()
        else:
            self.transport.close()

    def _count(self) -> None:
        self._rate.count(self.loop.time(), self._uncounted)
        self._uncounted = 0

    def _await_next(self) -> None:
        """Wait for the next request; a timer for each would cost more than a look at the clock."""
        self._is_resting = True
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_more(self.timeout_keep_alive)

    def _wait_for_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )
