"""The way into the scorer: each path goes to the protocol that claims it, the rest to FastAPI.

Small calls skip ASGI: `ProtocolRouter.fast_handler` says what answers them (see `fast_path`).
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from urllib.parse import unquote

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.errors import ClientDisconnectedError, LoopwrightError
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.problems import Refuse, headers_of, problem_of
from loopwright_common.web.same_origin import foreign
from loopwright_scorer.errors import MethodNotAllowedError, status_of
from loopwright_scorer.inference.executor import LOOP_BYTES
from loopwright_scorer.protocols.base import (
    FastHandler,
    InferenceProtocol,
    Reply,
    compressed,
    send_reply,
)
from loopwright_scorer.protocols.request import Header, HttpRequest, InferenceLimits

log = structlog.get_logger()
_COMPRESS_FROM = 1024
_LONGEST_PATH = 2048
"""Paths are remembered, and so must not be of any length."""
_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 2048
"""Bytes of a head that is worth remembering; with `_LARGEST_CACHE` that bounds the memory taken."""
_LARGEST_CACHE = 1024


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
        limits: InferenceLimits,
        guard: RequestGuard,
    ) -> None:
        self._protocols = protocols
        self._others = others
        self.limits = limits
        self.guard = guard
        """What connections have to pass that lead here."""
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
        if refusal := foreign(scope["headers"], self.guard.hosts):
            await send_reply(send, protocol.refuse(403, refusal))
            return
        if len(scope["path"]) > _LONGEST_PATH:
            await send_reply(send, protocol.refuse(414, "the path is too long"))
            return
        request = HttpRequest(scope, receive, self.limits)
        try:
            reply = await _reply(protocol, request)
            if request.wants_compressed and len(reply.body) > _COMPRESS_FROM:
                reply = await _compressed(reply)
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
        if protocol is None or foreign(headers, self.guard.hosts):
            return None
        try:
            handler = protocol.fast_handler(path, dict(headers))
        except LoopwrightError:
            return None
        return handler and partial(_answer, protocol, path, handler)

    def _protocol(self, path: str) -> InferenceProtocol | None:
        return _claiming(self._protocols, path)


def refusing_as(protocols: Sequence[InferenceProtocol]) -> Refuse:
    """Answers errors in the shape of the protocol that claims the path, elsewhere as problems."""

    def refuse(path: str, error: LoopwrightError) -> Response:
        protocol = _claiming(protocols, path)
        if protocol is None:
            return problem_of(path, error)
        reply = _refused(protocol, path, error)
        headers = {name.decode(): value.decode("latin-1") for name, value in reply.headers}
        return Response(reply.body, reply.status, headers)

    return refuse


def _claiming(protocols: Sequence[InferenceProtocol], path: str) -> InferenceProtocol | None:
    return next((each for each in protocols if each.claims(path)), None)


async def _compressed(reply: Reply) -> Reply:
    if len(reply.body) > LOOP_BYTES:
        return await asyncio.to_thread(compressed, reply)
    return compressed(reply)


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
    more = ((name.encode(), value.encode()) for name, value in headers_of(error).items())
    return reply.also(*more)


def _answer(
    protocol: InferenceProtocol, path: str, handler: FastHandler, body: bytes
) -> Reply | None:
    try:
        return handler(body)
    except Exception as error:  # noqa: BLE001 - what is no refusal is logged there
        return _refused(protocol, path, error)
