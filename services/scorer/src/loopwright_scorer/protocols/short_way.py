"""uvicorn's HTTP protocol with a short way for inference calls that can be answered at once.

Such a call is whole in memory and computed in microseconds: a task and ASGI's messages would cost
more than its answer (docs/benchmarks.md). It is answered where its last byte is parsed. All other
requests, and these when they have to wait for anything, go through ASGI as always.
"""

from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from loopwright_scorer.protocols.asgi import Header, Reply
from loopwright_scorer.protocols.door import Door

_LARGEST = 256 << 10
"""Bytes of a body; larger ones take time to read, and that is done in a thread."""
_ENDINGS = (b"/infer", b"/invocations", b":predict")


class ShortWay(HttpToolsProtocol):
    """For an app that is a `Door`; for any other it is uvicorn's own."""

    _parts: list[bytes] | None = None
    """The body so far of a request that may go the short way."""
    _size = 0
    _defaults: tuple[Sequence[Header], bytes] = ((), b"")

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        if self._may_be_short():
            self._parts, self._size = [], 0
        else:
            self._begin_asgi()

    def on_body(self, body: bytes) -> None:
        if self._parts is None:
            super().on_body(body)
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > _LARGEST:
            self._give_back(self._parts)

    def on_message_complete(self) -> None:
        if self._parts is not None:
            parts, body = self._parts, b"".join(self._parts)
            if reply := self.app.at_once(self.url, self.headers, body):
                self._parts = None
                self._answer(reply)
                return
            self._give_back(parts)
        super().on_message_complete()

    def _may_be_short(self) -> bool:
        return (
            self.url.endswith(_ENDINGS)
            and isinstance(self.app, Door)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.flow.write_paused
            and self._is_free()
            and not self.parser.should_upgrade()
        )

    def _is_free(self) -> bool:
        """Whether every earlier request of this connection has been answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _begin_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _give_back(self, parts: Sequence[bytes]) -> None:
        self._parts = None
        self._begin_asgi()
        for part in parts:
            super().on_body(part)

    def _answer(self, reply: Reply) -> None:
        lines = [STATUS_LINE[reply.status], self._default_lines()]
        for name, value in reply.headers:
            lines += (name, b": ", value, b"\r\n")
        keep = self.parser.should_keep_alive()
        if not keep:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-length: %d\r\n\r\n" % len(reply.body))
        lines.append(reply.body)
        self.transport.write(b"".join(lines))
        if not keep:
            self.transport.close()
        self.on_response_complete()

    def _default_lines(self) -> bytes:
        """uvicorn's own headers; it makes them anew each second, for the date."""
        given, lines = self._defaults
        if given is not self.server_state.default_headers:
            given = self.server_state.default_headers
            lines = b"".join(b"%b: %b\r\n" % pair for pair in given)
            self._defaults = (given, lines)
        return lines
