"""The way into the scorer: each path goes to the protocol that claims it, the rest to FastAPI.

Small calls skip ASGI: `ProtocolRouter.fast_handler` says what answers them (see `fast_path`).
"""

from collections.abc import Collection, Sequence
from functools import partial
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.settings import LOOPBACK
from loopwright_scorer.errors import (
    RETRY_AFTER_SECONDS,
    ClientDisconnectedError,
    MethodNotAllowedError,
    status_of,
)
from loopwright_scorer.http_server.connections import ConnectionLimits
from loopwright_scorer.protocols.base import (
    FastHandler,
    InferenceProtocol,
    Reply,
    compressed,
    send_reply,
)
from loopwright_scorer.protocols.request import (
    Header,
    HttpRequest,
    RequestLimits,
    cross_origin_refusal,
)

log = structlog.get_logger()
_COMPRESS_FROM = 1024
_LONGEST_PATH = 2048
"""Paths are remembered, and so must not be of any length."""
_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 2048
"""Bytes of a head that is worth remembering; with `_LARGEST_CACHE` that bounds the memory taken."""
_LARGEST_CACHE = 1024
_RETRY_AFTER = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)


class HeaderCache:
    """What answers the bodies that come with heads that were parsed before.

    A client sends the same head again and again, and equal bytes mean the same to any parser.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, FastHandler]] = {}

    def answer(self, data: bytes) -> tuple[bool, Reply | None]:
        """Whether `data` is a whole request with a known head, and its answer.

        A known one without an answer has to wait for something: it has to go through ASGI.
        """
        end = data.find(_HEAD_END) + len(_HEAD_END)
        found = self._known.get(data[:end])
        if found is None or len(data) - end != found[0]:
            return False, None
        return True, found[1](data[end:])

    def remember(self, data: bytes, size: int, handler: FastHandler) -> None:
        """`data` is what came for a request whose body has `size` bytes.

        It is kept only where that is one whole request and no part of another: a body in chunks,
        for one, takes more bytes than it has.
        """
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if not len(_HEAD_END) <= end <= _LONGEST_HEAD or len(data) - end != size:
            return
        if len(self._known) >= _LARGEST_CACHE:
            self._known.clear()
        self._known[data[:end]] = (size, handler)


class ProtocolRouter:
    """The scorer's ASGI app: the inference protocols, and `others` for every path they leave."""

    def __init__(
        self,
        protocols: Sequence[InferenceProtocol],
        others: ASGIApp,
        limits: RequestLimits,
        hosts: Collection[str] = LOOPBACK,
        connection_limits: ConnectionLimits | None = None,
    ) -> None:
        self._protocols = protocols
        self._others = others
        self._limits = limits
        self._hosts = frozenset(hosts)
        self.connection_limits = connection_limits
        """None for any number of connections."""
        self.header_cache = HeaderCache()
        """What `fast_handler` found for requests before."""
        self._fast_endings = tuple(
            ending.encode() for protocol in protocols for ending in protocol.fast_endings
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol = self._protocol(scope["path"]) if scope["type"] == "http" else None
        if protocol is None:
            await self._others(scope, receive, send)
            return
        if refusal := cross_origin_refusal(scope["headers"], self._hosts):
            await send_reply(send, protocol.refuse(403, refusal))
            return
        if len(scope["path"]) > _LONGEST_PATH:
            await send_reply(send, protocol.refuse(414, "the path is too long"))
            return
        request = HttpRequest(scope, receive, self._limits)
        try:
            reply = await _reply(protocol, request)
            if request.wants_compressed and len(reply.body) > _COMPRESS_FROM:
                reply = compressed(reply)
            await send_reply(send, reply)
        except ClientDisconnectedError:
            return
        finally:
            request.close()

    def fast_handler(self, url: bytes, headers: Sequence[Header]) -> FastHandler | None:
        """What answers POSTs with this head (`url`: the path as sent); None: all go through ASGI.

        Nothing but the head has a part in it, so it answers whatever body comes with the same.
        """
        if len(url) > _LONGEST_PATH or not url.endswith(self._fast_endings):
            return None
        path = unquote(url.partition(b"?")[0].decode("latin-1"))
        protocol = self._protocol(path)
        if protocol is None or cross_origin_refusal(headers, self._hosts):
            return None
        try:
            handler = protocol.fast_handler(path, dict(headers))
        except LoopwrightError:
            return None
        return handler and partial(_answer, protocol, path, handler)

    def refuse(self, url: bytes, error: LoopwrightError) -> Reply:
        """What is answered to a request that is not looked at, which need not have come whole."""
        path = unquote(url.decode("latin-1"))
        protocol = self._protocol(path)
        if protocol is None:
            return Reply(status_of(error), str(error).encode())
        return _refused(protocol, path, error)

    def _protocol(self, path: str) -> InferenceProtocol | None:
        for each in self._protocols:
            if each.claims(path):
                return each
        return None


async def _reply(protocol: InferenceProtocol, request: HttpRequest) -> Reply:
    try:
        return await protocol.reply(request)
    except ClientDisconnectedError:
        raise
    except Exception as error:  # noqa: BLE001 - what is no refusal is logged there
        return _refused(protocol, request.path, error)


def _refused(protocol: InferenceProtocol, path: str, error: Exception) -> Reply:
    if not isinstance(error, LoopwrightError):
        log.error("protocol.failed", path=path, exc_info=error)
        return protocol.refuse(500, "an internal error; the scorer's log has the details")
    reply = protocol.refuse(status_of(error), str(error))
    if isinstance(error, MethodNotAllowedError):
        return reply.also((b"allow", error.allowed.encode()))
    return reply.also(_RETRY_AFTER) if isinstance(error, UnavailableError) else reply


def _answer(
    protocol: InferenceProtocol, path: str, handler: FastHandler, body: bytes
) -> Reply | None:
    try:
        return handler(body)
    except Exception as error:  # noqa: BLE001 - what is no refusal is logged there
        return _refused(protocol, path, error)
