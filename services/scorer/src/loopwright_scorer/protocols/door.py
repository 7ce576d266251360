"""The way into the scorer: each path goes to the protocol that claims it, the rest to FastAPI."""

from collections.abc import Collection, Sequence
from typing import Protocol

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.settings import LOOPBACK
from loopwright_scorer.errors import RETRY_AFTER_SECONDS, status_of
from loopwright_scorer.exchange import Answer, Call
from loopwright_scorer.protocols.address import Address
from loopwright_scorer.protocols.asgi import (
    PREDICTION_ID,
    REQUEST_ID,
    ROUTING_KEY,
    GoneError,
    HttpRequest,
    Intake,
    Reply,
    compressed,
    refusal_of,
    send_reply,
)

log = structlog.get_logger()
_COMPRESS_FROM = 1024
_RETRY_AFTER = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)


class HttpProtocol(Protocol):
    """An inference protocol over HTTP."""

    def claims(self, path: str) -> bool: ...

    async def reply(self, request: HttpRequest) -> Reply:
        """Any LoopwrightError is answered as `refuse` says."""
        ...

    def refuse(self, status: int, reason: str) -> Reply:
        """The protocol's own shape of an error."""
        ...


class Door:
    """The scorer's ASGI app."""

    def __init__(
        self,
        protocols: Sequence[HttpProtocol],
        others: ASGIApp,
        intake: Intake,
        hosts: Collection[str] = LOOPBACK,
    ) -> None:
        self._protocols = protocols
        self._others = others
        self._intake = intake
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol = self._protocol(scope) if scope["type"] == "http" else None
        if protocol is None:
            await self._others(scope, receive, send)
            return
        if refusal := refusal_of(scope, self._hosts):
            await send_reply(send, protocol.refuse(403, refusal))
            return
        request = HttpRequest(scope, receive, self._intake)
        try:
            reply = await _reply(protocol, request)
        except GoneError:
            return
        finally:
            request.close()
        if request.wants_compressed and len(reply.body) > _COMPRESS_FROM:
            reply = compressed(reply)
        await send_reply(send, reply)

    def _protocol(self, scope: Scope) -> HttpProtocol | None:
        path = scope["path"]
        return next((each for each in self._protocols if each.claims(path)), None)


def call_of(request: HttpRequest, address: Address, size: int) -> Call:
    """The call of a request for a model."""
    return Call(
        address.model,
        size,
        address.version,
        address.alias,
        routing_key=request.text(ROUTING_KEY),
        request_id=request.text(REQUEST_ID),
    )


def with_id(answer: Answer[Reply]) -> Reply:
    """The answer under its prediction id."""
    return answer.content.also((PREDICTION_ID, answer.prediction_id.encode()))


async def _reply(protocol: HttpProtocol, request: HttpRequest) -> Reply:
    try:
        return await protocol.reply(request)
    except UnavailableError as error:
        return protocol.refuse(status_of(error), str(error)).also(_RETRY_AFTER)
    except LoopwrightError as error:
        return protocol.refuse(status_of(error), str(error))
    except GoneError:
        raise
    except Exception:
        log.exception("protocol.failed", path=request.path)
        return protocol.refuse(500, "an internal error; the scorer's log has the details")
