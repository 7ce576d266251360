"""Raw ASGI for the inference routes: bounded bodies in, whole answers out."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson
from starlette.types import Receive, Scope, Send

from loopwright_common.errors import InvalidError, TooLargeError
from loopwright_common.web import foreign
from loopwright_scorer.errors import OverloadedError, SlowClientError, UnsupportedError

ROUTING_KEY = b"loopwright-routing-key"
REQUEST_ID = b"loopwright-request-id"
PREDICTION_ID = b"loopwright-prediction-id"
_INFLATE_HERE = 16 << 10
"""Compressed bytes up to which a body is inflated on the event loop."""
_NAMED = frozenset({b"host", b"origin"})
_AUTOMATIC = 32 + zlib.MAX_WBITS  # zlib tells gzip from deflate by itself
Header = tuple[bytes, bytes]
Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[Header, ...] = ()

    def also(self, *headers: Header) -> "Reply":
        """This answer with more headers."""
        return Reply(self.status, self.body, (*self.headers, *headers))


class GoneError(Exception):
    """The client closed the connection before its request was whole."""


@dataclass(slots=True)
class Intake:
    """What all requests together may hold in memory; `room` is what is left, in bytes."""

    largest_body: int
    room: int
    seconds: float
    """How long a client may take to send a body."""

    def take(self, size: int) -> None:
        """OverloadedError when there is no room."""
        if size > self.room:
            raise OverloadedError(
                "requests under way fill the memory kept for them; come again, or raise"
                " LOOPWRIGHT_SCORER_REQUEST_BUFFER"
            )
        self.room -= size


class HttpRequest:
    """A request whose body is read when asked for; `close` gives its room back."""

    def __init__(self, scope: Scope, receive: Receive, intake: Intake) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: Headers = dict(scope["headers"])
        self._receive = receive
        self._intake = intake
        self._held = 0

    @property
    def wants_compressed(self) -> bool:
        """Who compresses requests and can read compressed answers gets them."""
        accepted = self.headers.get(b"accept-encoding", b"")
        return b"content-encoding" in self.headers and b"gzip" in accepted

    async def body(self) -> bytes:
        """The whole body, inflated; TooLargeError as soon as it must exceed the limit."""
        declared = self.headers.get(b"content-length", b"0")
        self._hold(int(declared) if declared.isdigit() else 0)
        try:
            async with asyncio.timeout(self._intake.seconds):
                body = await self._whole()
        except TimeoutError:
            raise SlowClientError(
                f"the body did not come within {self._intake.seconds:g} s"
            ) from None
        encoding = self.headers.get(b"content-encoding", b"identity")
        return body if encoding == b"identity" else await self._inflated(body, encoding)

    def close(self) -> None:
        self._intake.room += self._held
        self._held = 0

    async def _whole(self) -> bytes:
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body"):
            self._hold(len(body))
            return body
        parts = bytearray()
        while message["type"] == "http.request":
            parts += message.get("body", b"")
            self._hold(len(parts))
            if not message.get("more_body"):
                return bytes(parts)
            message = await self._receive()
        raise GoneError

    async def _inflated(self, body: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"gzip", b"deflate"):
            raise UnsupportedError(
                f"content-encoding {encoding.decode('latin-1')!r}: send gzip, deflate or plain"
            )
        limit = min(self._intake.largest_body, self._intake.room + self._held)
        if len(body) > _INFLATE_HERE:
            whole = await asyncio.to_thread(_inflate, body, limit)
        else:
            whole = _inflate(body, limit)
        self._hold(len(whole))
        return whole

    def _hold(self, size: int) -> None:
        """Hold room for a body of this size, if it is more than what is held."""
        if size > self._intake.largest_body:
            raise too_large(self._intake.largest_body)
        if size > self._held:
            self._intake.take(size - self._held)
            self._held = size


def too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body is larger than {limit} bytes; send fewer rows per request, or raise"
        " LOOPWRIGHT_SCORER_LARGEST_BODY"
    )


def json_reply(content: object, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(content), ((b"content-type", b"application/json"),))


def compressed(reply: Reply) -> Reply:
    packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    body = packer.compress(reply.body) + packer.flush()
    return Reply(reply.status, body, (*reply.headers, (b"content-encoding", b"gzip")))


def refusal_of(headers: Sequence[Header], hosts: frozenset[str]) -> str | None:
    """Why the request is refused as meant for, or sent from, another host."""
    named = tuple([pair for pair in headers if pair[0] in _NAMED])
    return _foreign(named, hosts)


async def send_reply(send: Send, reply: Reply) -> None:
    length = (b"content-length", b"%d" % len(reply.body))
    headers = [*reply.headers, length]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


@lru_cache(1024)
def _foreign(headers: tuple[Header, ...], hosts: frozenset[str]) -> str | None:
    return foreign({"headers": headers}, hosts)


def _inflate(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_AUTOMATIC)
    try:
        whole = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidError(f"the body is not what content-encoding says: {error}") from None
    if len(whole) > limit:
        raise too_large(limit)
    if not unpacker.eof:
        raise InvalidError("the compressed body ends too early")
    return whole
