"""The body of a request, read within limits of size and time."""

import asyncio

from starlette.types import Message, Receive, Scope

from loopwright_common.errors import ClientDisconnectedError, SlowClientError
from loopwright_common.web.request_limits import BodyLimit, MemoryCharge

STEADY_BYTES = 256 << 10
"""What a client has to send, of a body that is read as it comes, each time that it has for one."""
_DIGITS = 19


class BodyReader:
    """Reads one request's body within `seconds`; `declared` is its length by the head, or 0."""

    def __init__(self, scope: Scope, receive: Receive, seconds: float) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")[:_DIGITS]
        self.declared = int(length) if length.isdigit() else 0
        self.has_body = self.declared > 0 or b"transfer-encoding" in headers
        self._receive = receive
        self._seconds = seconds

    async def whole(self, limit: BodyLimit, charge: MemoryCharge) -> bytes:
        """The body, whose memory is held from before it comes.

        Raises TooLargeError as soon as it must exceed the limit, OverloadedError where there is no
        room, SlowClientError, and ClientDisconnectedError.
        """
        charge.hold(self.declared)
        parts = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                more = True
                while more:
                    message = await self._received()
                    parts += message.get("body", b"")
                    limit.check(len(parts))
                    charge.hold(len(parts))
                    more = message.get("more_body", False)
        except TimeoutError:
            raise _too_slow(self._seconds) from None
        return bytes(parts)

    def streaming(self, limit: BodyLimit) -> Receive:
        """What gives the body as it comes, and raises where it is too large or too slow."""
        return _SteadyBody(self._receive, limit, self._seconds)

    async def _received(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientDisconnectedError
        return message


class _SteadyBody:
    """A body as it comes; the time counts in which the client is waited for, not the reader."""

    def __init__(self, receive: Receive, limit: BodyLimit, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = self._left = seconds
        self._seen, self._awaited = 0, STEADY_BYTES
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow(self._seconds) from None
        self._left -= asyncio.get_running_loop().time() - began
        self._seen += len(message.get("body", b""))
        if self._seen >= self._awaited:
            self._left, self._awaited = self._seconds, self._seen + STEADY_BYTES
        self._is_whole = not message.get("more_body", False)
        self._limit.check(self._seen)
        return message


def _too_slow(seconds: float) -> SlowClientError:
    return SlowClientError(f"the body did not come within {seconds:g} s")


def replayed(body: bytes, receive: Receive) -> Receive:
    """Gives a body that has been read, and then what comes after it."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay
