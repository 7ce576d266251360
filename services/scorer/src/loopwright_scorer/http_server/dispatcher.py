"""The way into the scorer: each path goes to the protocol that claims it, the rest to FastAPI."""

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
from loopwright_scorer.http_server.header_cache import HeaderCache
from loopwright_scorer.protocols.base import InferenceProtocol
from loopwright_scorer.protocols.request import (
    FastHandler,
    Header,
    HttpRequest,
    Reply,
    RequestLimits,
    compressed,
    refusal_of,
    send_reply,
)

log = structlog.get_logger()
_COMPRESS_FROM = 1024
_LONGEST_PATH = 2048
"""Paths are remembered, and so must not be of any length."""
_RETRY_AFTER = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)


class ProtocolRouter:
    """The scorer's ASGI app."""

    def __init__(
        self,
        protocols: Sequence[InferenceProtocol],
        others: ASGIApp,
        intake: RequestLimits,
        hosts: Collection[str] = LOOPBACK,
        connections: ConnectionLimits | None = None,
    ) -> None:
        self._protocols = protocols
        self._others = others
        self._intake = intake
        self._hosts = frozenset(hosts)
        self.connections = connections
        """None for any number of them."""
        self.heads = HeaderCache()
        """What `short` found for requests before."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol = self._protocol(scope["path"]) if scope["type"] == "http" else None
        if protocol is None:
            await self._others(scope, receive, send)
            return
        if refusal := refusal_of(scope["headers"], self._hosts):
            await send_reply(send, protocol.refuse(403, refusal))
            return
        if len(scope["path"]) > _LONGEST_PATH:
            await send_reply(send, protocol.refuse(414, "the path is too long"))
            return
        request = HttpRequest(scope, receive, self._intake)
        try:
            reply = await _reply(protocol, request)
            if request.wants_compressed and len(reply.body) > _COMPRESS_FROM:
                reply = compressed(reply)
            await send_reply(send, reply)
        except ClientDisconnectedError:
            return
        finally:
            request.close()

    def short(self, url: bytes, headers: Sequence[Header]) -> FastHandler | None:
        """What answers POSTs with this head (`url`: the path as sent); None: all go through ASGI.

        Nothing but the head has a part in it, so it answers whatever comes with the same.
        """
        if len(url) > _LONGEST_PATH:
            return None
        path = unquote(url.partition(b"?")[0].decode("latin-1"))
        protocol = self._protocol(path)
        if protocol is None or refusal_of(headers, self._hosts):
            return None
        try:
            answer = protocol.short(path, dict(headers))
        except LoopwrightError:
            return None
        return answer and partial(_answered, protocol, path, answer)

    def refuse(self, url: bytes, error: LoopwrightError) -> Reply:
        """What is told of a request that is not looked at, which need not have come whole."""
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


def _answered(
    protocol: InferenceProtocol, path: str, answer: FastHandler, body: bytes
) -> Reply | None:
    try:
        return answer(body)
    except Exception as error:  # noqa: BLE001 - what is no refusal is logged there
        return _refused(protocol, path, error)
