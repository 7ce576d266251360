"""Requests of the inference routes, read from raw ASGI: bodies within limits, inflated."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Receive, Scope

from loopwright_common.errors import InvalidError, TooLargeError
from loopwright_common.web.app import foreign
from loopwright_scorer.errors import (
    ClientDisconnectedError,
    MethodNotAllowedError,
    OverloadedError,
    SlowClientError,
    UnsupportedError,
)

ROUTING_KEY = b"loopwright-routing-key"
REQUEST_ID = b"loopwright-request-id"
JSON_LENGTH = b"inference-header-content-length"
_COLUMNAR = b"application/vnd.apache."
_DIGITS = 19
_INFLATE_HERE = 16 << 10
"""Compressed bytes up to which a body is inflated on the event loop."""
_NAMED = frozenset({b"host", b"origin"})
_AUTOMATIC = 32 + zlib.MAX_WBITS  # zlib tells gzip from deflate by itself
Header = tuple[bytes, bytes]
Headers = Mapping[bytes, bytes]


@dataclass(slots=True)
class RequestLimits:
    """What all requests together may hold in memory; `available` is what is left, in bytes."""

    largest_body: int
    available: int
    body_seconds: float
    """How long a client may take to send a body."""
    largest_json: int = 4 << 20
    """Bytes of a body that are parsed value by value, which nothing else can go on beside."""

    def reserve(self, size: int) -> None:
        """OverloadedError when there is no room."""
        if size > self.available:
            raise OverloadedError(
                "requests under way fill the memory kept for them; come again, or raise"
                " LOOPWRIGHT_SCORER_REQUEST_BUFFER"
            )
        self.available -= size


class HttpRequest:
    """A request whose body is read when asked for; `close` gives its memory back."""

    def __init__(self, scope: Scope, receive: Receive, limits: RequestLimits) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: Headers = dict(scope["headers"])
        self._receive = receive
        self._limits = limits
        self._largest, self._too_large = limits.largest_body, too_large
        if limits.largest_json < self._largest and not _is_raw(self.headers, limits.largest_json):
            self._largest, self._too_large = limits.largest_json, too_much_json
        self._held = 0

    @property
    def wants_compressed(self) -> bool:
        """Who compresses requests and can read compressed answers gets them."""
        accepted = self.headers.get(b"accept-encoding", b"")
        return b"content-encoding" in self.headers and b"gzip" in accepted

    def require_method(self, method: str) -> None:
        """MethodNotAllowedError for any other; what may be got may be asked for by HEAD too."""
        if self.method != method and (self.method, method) != ("HEAD", "GET"):
            raise MethodNotAllowedError(method)

    async def body(self) -> bytes:
        """The whole body, inflated; TooLargeError as soon as it must exceed the limit.

        SlowClientError where it comes too late, OverloadedError where all bodies are too much,
        UnsupportedError for an encoding, InvalidError for a body that is not in it.
        """
        declared = self.headers.get(b"content-length", b"0")
        self._hold(int(declared) if declared.isdigit() else 0)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._whole()
        except TimeoutError:
            raise SlowClientError(
                f"the body did not come within {self._limits.body_seconds:g} s"
            ) from None
        encoding = self.headers.get(b"content-encoding", b"identity")
        return body if encoding == b"identity" else await self._inflated(body, encoding)

    async def disconnected(self) -> None:
        """Returns once the client has closed its connection. Only after `body`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def close(self) -> None:
        self._limits.available += self._held
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
        raise ClientDisconnectedError

    async def _inflated(self, body: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"gzip", b"deflate"):
            raise UnsupportedError(
                f"content-encoding {encoding.decode('latin-1')!r}: send gzip, deflate or plain"
            )
        limit = min(self._largest, self._limits.available + self._held)
        if len(body) > _INFLATE_HERE:
            whole = await asyncio.to_thread(_inflate, body, limit)
        else:
            whole = _inflate(body, limit)
        if whole is None:
            raise self._too_large(limit)
        self._hold(len(whole))
        return whole

    def _hold(self, size: int) -> None:
        """Hold memory for a body of this size, if it is more than what is held."""
        if size > self._largest:
            raise self._too_large(self._largest)
        if size > self._held:
            self._limits.reserve(size - self._held)
            self._held = size


def too_large(limit: int) -> TooLargeError:
    """The error for a body of more than `limit` bytes."""
    return TooLargeError(
        f"the body is larger than {limit} bytes; send fewer rows per request, or raise"
        " LOOPWRIGHT_SCORER_LARGEST_BODY"
    )


def too_much_json(limit: int) -> TooLargeError:
    """The error for a body of more than `limit` bytes that is not raw values."""
    return TooLargeError(
        f"the body has more than {limit} bytes of text; send fewer rows per request, or raw"
        " tensors, Arrow or Parquet, or raise LOOPWRIGHT_SCORER_LARGEST_JSON"
    )


def _is_raw(headers: Headers, largest_json: int) -> bool:
    """Whether values come as they are in memory, with little or no JSON before them."""
    length = headers.get(JSON_LENGTH, b"")
    if length.isdigit():
        return len(length) < _DIGITS and int(length) <= largest_json
    return headers.get(b"content-type", b"").startswith(_COLUMNAR)


def cross_origin_refusal(headers: Sequence[Header], hosts: frozenset[str]) -> str | None:
    """Why the request is refused as meant for, or sent from, another host."""
    named = tuple([pair for pair in headers if pair[0] in _NAMED])
    return _foreign(named, hosts)


@lru_cache(1024)
def _foreign(headers: tuple[Header, ...], hosts: frozenset[str]) -> str | None:
    return foreign({"headers": headers}, hosts)


def _inflate(body: bytes, limit: int) -> bytes | None:
    """None where it becomes larger than `limit`."""
    unpacker = zlib.decompressobj(_AUTOMATIC)
    try:
        whole = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidError(f"the body is not what content-encoding says: {error}") from None
    if len(whole) > limit:
        return None
    if not unpacker.eof:
        raise InvalidError("the compressed body ends too early")
    return whole
