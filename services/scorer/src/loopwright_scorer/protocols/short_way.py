"""uvicorn's HTTP protocol with a short way for inference calls that can be answered at once.

Such a call is whole in memory and computed in microseconds: a task and ASGI's messages would cost
more than its answer (docs/benchmarks.md). It is answered where its last byte is parsed. All other
requests, and these when they have to wait for anything, go through ASGI as always.
"""

from collections.abc import Sequence

from loopwright_scorer.compute import LOOP_BYTES
from loopwright_scorer.protocols.asgi import Reply
from loopwright_scorer.protocols.door import Door
from loopwright_scorer.protocols.guarded import Guarded

_ENDINGS = (b"/infer", b"/invocations", b":predict")


class ShortWay(Guarded):
    """For an app that is a `Door`; for any other it is uvicorn's own."""

    _parts: list[bytes] | None = None
    """The body so far of a request that may go the short way."""
    _size = 0

    @classmethod
    def behind(cls, door: Door) -> type["ShortWay"]:
        """With the limits of a door, whatever app is put before it."""
        return type("ShortWay", (cls,), {"guarded_by": door})

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # What will not be whole soon is refused early there, where it has to be.
        if self._parts is not None and self._declared() > LOOP_BYTES:
            self._give_back(self._parts)

    def on_message_begin(self) -> None:
        self._began = self.loop.time()
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
        self._headless = 0
        self._parts.append(body)
        self._size += len(body)
        if self._size > LOOP_BYTES:
            self._give_back(self._parts)

    def on_message_complete(self) -> None:
        if self._parts is not None:
            parts, body = self._parts, b"".join(self._parts)
            if reply := self.app.at_once(self.url, self.headers, body):
                self._parts = None
                self._began, self._headless = None, 0
                self._answer(reply)
                return
            self._give_back(parts)
        super().on_message_complete()

    def _may_be_short(self) -> bool:
        return (
            self.url.endswith(_ENDINGS)
            and self._error is None
            and isinstance(self.app, Door)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.flow.write_paused
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

    def _answer(self, reply: Reply) -> None:
        keep = self.parser.should_keep_alive() and not self._is_stopping
        self.write(reply, keep=keep)
        if not keep:
            self.transport.close()
        self.on_response_complete()
