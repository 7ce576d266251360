"""Requests of the inference routes, read from raw ASGI: bodies within limits, inflated."""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope

from loopwright_common.errors import InvalidError
from loopwright_common.web.request_body import BodyReader
from loopwright_common.web.request_limits import (
    LARGEST_BODY,
    BodyLimit,
    MemoryCharge,
    RequestMemory,
)
from loopwright_scorer.errors import MethodNotAllowedError, UnsupportedError
from loopwright_scorer.inference.executor import LOOP_BYTES

ROUTING_KEY = b"loopwright-routing-key"
REQUEST_ID = b"loopwright-request-id"
JSON_LENGTH = b"inference-header-content-length"
_COLUMNAR = b"application/vnd.apache."
_DIGITS = 19
_INFLATE_HERE = 16 << 10
"""Compressed bytes up to which a body is inflated on the event loop."""
_DEFLATE_RATIO = 1032
"""How many times as large a body becomes at most."""
_AUTOMATIC = 32 + zlib.MAX_WBITS  # zlib tells gzip from deflate by itself
_FEWER_ROWS = "send fewer rows per request, or raise LOOPWRIGHT_SCORER_LARGEST_INFERENCE"
_LESS_TEXT = (
    "as text; send fewer rows per request, or raw tensors, Arrow or Parquet, or raise"
    " LOOPWRIGHT_SCORER_LARGEST_JSON"
)
Header = tuple[bytes, bytes]
Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class InferenceLimits:
    """How much is taken of one request and of all, in bytes; times in seconds."""

    memory: RequestMemory = field(default_factory=RequestMemory)
    largest_inference: int = 16 << 20
    largest_json: int = 4 << 20
    """Bytes of a body that are parsed value by value, which nothing else can go on beside."""
    largest_body: int = LARGEST_BODY
    """Bytes of a body that asks for no inference."""
    body_seconds: float = 30.0


class HttpRequest:
    """A request whose body is read when asked for; `close` gives its memory back."""

    def __init__(self, scope: Scope, receive: Receive, limits: InferenceLimits) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: Headers = dict(scope["headers"])
        self._receive = receive
        self._limits = limits
        self._reader = BodyReader(scope, receive, limits.body_seconds)
        self._charge = MemoryCharge(limits.memory)
        self.charge = self._charge.add
        """Holds more memory of all requests' for this one, until it is closed; see `add`."""

    @property
    def wants_compressed(self) -> bool:
        """Who compresses requests and can read compressed answers gets them."""
        accepted = self.headers.get(b"accept-encoding", b"")
        return b"content-encoding" in self.headers and b"gzip" in accepted

    def require_method(self, method: str) -> None:
        """MethodNotAllowedError for any other; what may be got may be asked for by HEAD too.

        What is got has no body, or none that is larger than others may be.
        """
        if self.method != method and (self.method, method) != ("HEAD", "GET"):
            raise MethodNotAllowedError(method)
        if method == "GET":
            BodyLimit(self._limits.largest_body).check(self._reader.declared)

    async def inference_body(self) -> bytes:
        """The whole body, inflated; TooLargeError as soon as it must exceed the limit."""
        limit = self._inference_limit()
        body = await self._body(limit)
        if len(body) > LOOP_BYTES and not _is_raw(self.headers, self._limits.largest_json):
            self.charge(parsed_size(body))
        return body

    async def body(self) -> bytes:
        """The whole body of what is no inference."""
        return await self._body(BodyLimit(self._limits.largest_body))

    async def disconnected(self) -> None:
        """Returns once the client has closed its connection. Only after a body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def close(self) -> None:
        self._charge.release()

    def _inference_limit(self) -> BodyLimit:
        limits = self._limits
        if limits.largest_json < limits.largest_inference and not _is_raw(
            self.headers, limits.largest_json
        ):
            return BodyLimit(limits.largest_json, remedy=_LESS_TEXT)
        return BodyLimit(limits.largest_inference, remedy=_FEWER_ROWS)

    async def _body(self, limit: BodyLimit) -> bytes:
        limit.check(self._reader.declared)
        body = await self._reader.whole(limit, self._charge)
        encoding = self.headers.get(b"content-encoding", b"identity")
        return body if encoding == b"identity" else await self._inflated(body, encoding, limit)

    async def _inflated(self, body: bytes, encoding: bytes, limit: BodyLimit) -> bytes:
        if encoding not in (b"gzip", b"deflate"):
            raise UnsupportedError(
                f"content-encoding {encoding.decode('latin-1')!r}: send gzip, deflate or plain"
            )
        self._charge.hold(min(limit.size, _DEFLATE_RATIO * len(body)))
        if len(body) > _INFLATE_HERE:
            whole = await asyncio.to_thread(_inflate, body, limit.size)
        else:
            whole = _inflate(body, limit.size)
        limit.check(len(whole))
        self._charge.keep(len(whole))
        return whole


def parsed_size(text: bytes) -> int:
    """At most so many bytes does JSON or CSV become in memory, by what it has of values.

    A list or an object in it takes 64 bytes, a number 32, and a text 32 more than its own.
    """
    values = text.count(b",") + text.count(b"\n")
    openings = text.count(b"[") + text.count(b"{")
    return 64 * openings + 32 * values + 16 * text.count(b'"')


def _is_raw(headers: Headers, largest_json: int) -> bool:
    """Whether values come as they are in memory, with little or no JSON before them."""
    length = headers.get(JSON_LENGTH, b"")
    if length.isdigit():
        return len(length) < _DIGITS and int(length) <= largest_json
    return headers.get(b"content-type", b"").startswith(_COLUMNAR)


def _inflate(body: bytes, limit: int) -> bytes:
    """No more than a byte over the limit."""
    unpacker = zlib.decompressobj(_AUTOMATIC)
    try:
        whole = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidError(f"the body is not what content-encoding says: {error}") from None
    if len(whole) <= limit and not unpacker.eof:
        raise InvalidError("the compressed body ends too early")
    return whole
