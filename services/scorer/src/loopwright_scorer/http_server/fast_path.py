"""uvicorn's HTTP protocol with a short way for inference calls that can be answered at once.

Such a call is whole in memory and computed in microseconds: a task and ASGI's messages would cost
more than its answer (docs/benchmarks.md). It is answered where its last byte is parsed. All other
requests, and these when they have to wait for anything, go through ASGI as always.

On a connection that is kept most heads are those of requests before, byte for byte. They are
looked up and not parsed again.
"""

from collections.abc import Sequence

from loopwright_scorer.http_server.dispatcher import ProtocolRouter
from loopwright_scorer.http_server.hardened_http import HardenedHttpProtocol
from loopwright_scorer.inference.executor import LOOP_BYTES
from loopwright_scorer.protocols.request import FastHandler, Reply

_ENDINGS = (b"/infer", b"/invocations", b":predict")


class FastPathProtocol(HardenedHttpProtocol):
    """For an app that is a `Door`; for any other it is uvicorn's own."""

    _parts: list[bytes] | None = None
    """The body so far of a request that may go the short way."""
    _size = 0
    _short: FastHandler | None = None
    """What answers it."""
    _has_to_wait = False
    """Whether that is known of the request that is parsed."""
    _chunk = b""
    """The bytes that are parsed, where a request begins with them."""
    _answered_at = 0.0

    @classmethod
    def behind(cls, door: ProtocolRouter) -> type["FastPathProtocol"]:
        """With the limits of a door, whatever app is put before it."""
        return type("FastPathProtocol", (cls,), {"guarded_by": door})

    def data_received(self, data: bytes) -> None:
        if self._began is None and self._is_idle():
            if self._is_answered(data):
                return
            self._chunk = data
        super().data_received(data)
        self._chunk, self._has_to_wait = b"", False
        # What will not be whole soon is refused early there, where it has to be.
        if self._parts is not None and self._declared() > LOOP_BYTES:
            self._give_back(self._parts)

    def on_message_begin(self) -> None:
        self._began = self.loop.time()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._short = self._found() if not self._has_to_wait and self._may_be_short() else None
        if self._short is None:
            self._begin_asgi()
        else:
            self._parts, self._size = [], 0

    def on_body(self, body: bytes) -> None:
        if self._parts is None:
            super().on_body(body)
            return
        self._headless = 0
        self._parts.append(body)
        self._size += len(body)
        if self._size > LOOP_BYTES:
            self._give_back(self._parts)

    def on_message_complete(self) -> None:
        if self._parts is not None and self._short is not None:
            parts, body = self._parts, b"".join(self._parts)
            if reply := self._short(body):
                self._parts = None
                self._began, self._headless = None, 0
                self._answer(reply, body, self._short)
                return
            self._give_back(parts)
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        rest = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if rest <= 0:
            super().timeout_keep_alive_handler()
        else:
            self._wait_for_more(rest)

    def _is_answered(self, data: bytes) -> bool:
        """Whether it was a request with a known head that could be answered at once."""
        if not isinstance(self.app, ProtocolRouter) or not self._may_begin():
            return False
        found = self.app.heads.find(data)
        if found is None:
            return False
        answer, body = found
        reply = answer(body)
        if reply is None:
            self._has_to_wait = True
            return False
        self._reply(reply, keep=not self._is_stopping)
        return True

    def _found(self) -> FastHandler | None:
        app = self.app
        return app.short(self.url, self.headers) if isinstance(app, ProtocolRouter) else None

    def _may_begin(self) -> bool:
        return self._error is None and not self.flow.write_paused

    def _may_be_short(self) -> bool:
        return (
            self.url.endswith(_ENDINGS)
            and self._may_begin()
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and self._is_free()
            and not self.parser.should_upgrade()
        )

    def _declared(self) -> int:
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

    def _give_back(self, parts: Sequence[bytes]) -> None:
        self._parts = None
        self._begin_asgi()
        for part in parts:
            super().on_body(part)

    def _answer(self, reply: Reply, body: bytes, answer: FastHandler) -> None:
        keep = self.parser.should_keep_alive()
        if keep:
            self.app.heads.keep(self._chunk, len(body), answer)
        self._reply(reply, keep=keep and not self._is_stopping)

    def _reply(self, reply: Reply, *, keep: bool) -> None:
        self.write(reply, keep=keep)
        if keep:
            self._rest()
        else:
            self.transport.close()

    def _rest(self) -> None:
        """Until the next request; a timer for each would cost more than its look at the clock."""
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_more(self.timeout_keep_alive)

    def _wait_for_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )
