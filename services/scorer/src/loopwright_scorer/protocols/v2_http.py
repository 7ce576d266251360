"""Open Inference Protocol V2 over HTTP, as raw ASGI in front of the service's other routes.

Every answer under /v2 that is no success is {"error": "..."}: clients read nothing else.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import orjson
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.errors import InvalidError, LoopwrightError, NotFoundError, TooLargeError
from loopwright_common.settings import LOOPBACK
from loopwright_common.web import foreign, status_of
from loopwright_scorer.metadata import describe
from loopwright_scorer.requests import UnsupportedError
from loopwright_scorer.service import Call, ModelFailedError, Scoring

log = structlog.get_logger()
_ROUTING_KEY = b"loopwright-routing-key"
_REQUEST_ID = b"loopwright-request-id"
_JSON_LENGTH = b"inference-header-content-length"
_NOT_SERVED = {"models", "repository", "logging", "trace"} | {
    "systemsharedmemory",
    "cudasharedmemory",
}
_MODEL_EXTENSIONS = {"config", "stats", "trace", "generate", "generate_stream"}
_READS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class OpenInference:
    """Serves /v2; everything else goes to `others`."""

    def __init__(
        self,
        scoring: Scoring,
        unready: Callable[[], Awaitable[str | None]],
        others: ASGIApp,
        *,
        largest_body: int,
        hosts: Collection[str] = LOOPBACK,
    ) -> None:
        self._scoring = scoring
        self._unready = unready
        self._others = others
        self._largest_body = largest_body
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == "/v2" or path.startswith("/v2/")):
            await self._others(scope, receive, send)
            return
        reply = await self._reply(scope, receive)
        if reply is not None:
            await _send(send, reply)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | None:
        """None when the client went away."""
        try:
            if refusal := foreign(scope, self._hosts):
                return _error(403, refusal)
            return await self._dispatch(scope, receive)
        except (LoopwrightError, UnsupportedError, ModelFailedError) as error:
            return _error(_status(error), str(error))
        except _GoneError:
            return None
        except Exception:
            log.exception("protocol.failed", path=scope["path"])
            return _error(500, "an internal error; the scorer's log has the details")

    async def _dispatch(self, scope: Scope, receive: Receive) -> Reply:
        match scope["path"].strip("/").split("/")[1:]:
            case ["models", model, *rest] if model != "stats":
                return await self._model(scope, receive, model, rest)
            case [first, *_] if first in _NOT_SERVED:
                raise UnsupportedError(f"{scope['path']}: this extension is not served")
            case parts:
                return await self._server(scope, parts)

    async def _server(self, scope: Scope, parts: Sequence[str]) -> Reply:
        answers = {(): _about, ("health", "live"): _live, ("health", "ready"): self._ready}
        answer = answers.get(tuple(parts))
        if answer is None:
            raise _no_path(scope)
        if scope["method"] not in _READS:
            return _not_allowed("GET")
        return await answer()

    async def _ready(self) -> Reply:
        reason = await self._unready()
        return _error(503, reason) if reason else _json({"ready": True})

    async def _model(
        self, scope: Scope, receive: Receive, model: str, rest: Sequence[str]
    ) -> Reply:
        """`rest`: [versions, number] and an action, each or both absent."""
        number = None
        if rest[:1] == ["versions"] and len(rest) > 1:
            number, rest = _number(rest[1]), rest[2:]
        if list(rest) == ["infer"]:
            return await self._infer(scope, receive, model, number)
        if len(rest) == 1 and rest[0] in _MODEL_EXTENSIONS:
            raise UnsupportedError(f"{scope['path']}: this extension is not served")
        if list(rest) not in ([], ["ready"]):
            raise _no_path(scope)
        if scope["method"] not in _READS:
            return _not_allowed("GET")
        return self._model_ready(model, number) if rest else self._metadata(model, number)

    def _metadata(self, model: str, number: int | None) -> Reply:
        route = self._scoring.routes.route(model)
        arm = route.champion() if number is None else route.arm_of(number)
        return _json(describe(route, arm))

    def _model_ready(self, model: str, number: int | None) -> Reply:
        route = self._scoring.routes.route(model)
        if number is not None:
            route.arm_of(number)
        return _json({"name": model, "ready": True})

    async def _infer(self, scope: Scope, receive: Receive, model: str, number: int | None) -> Reply:
        if scope["method"] != "POST":
            return _not_allowed("POST")
        headers = dict(scope["headers"])
        body = await _body(receive, headers, self._largest_body)
        _only_json(headers, body)
        call = Call(
            model,
            body,
            number,
            routing_key=_text(headers.get(_ROUTING_KEY)),
            request_id=_text(headers.get(_REQUEST_ID)),
        )
        answer = await self._scoring.infer(call)
        return Reply(
            200, answer.body, ((b"loopwright-prediction-id", answer.prediction_id.encode()),)
        )


class _GoneError(Exception):
    """The client closed the connection before its request was whole."""


async def _body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole body; TooLargeError as soon as it must exceed the limit (bytes)."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return _within(message.get("body", b""), limit)
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        _within(parts, limit)
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise _GoneError


def _within(body: bytes | bytearray, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body  # type: ignore[return-value]


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body is larger than {limit} bytes; send fewer rows per request, or raise"
        " LOOPWRIGHT_SCORER_LARGEST_BODY"
    )


def _only_json(headers: Mapping[bytes, bytes], body: bytes) -> None:
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedError("compressed bodies are not served; send plain JSON")
    length = headers.get(_JSON_LENGTH)
    if length is not None and length != b"%d" % len(body):
        raise UnsupportedError("binary tensors are not served; send JSON data")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise NotFoundError(f"no version {text!r:.40}; versions are whole numbers")
    return int(text)


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value else None


def _status(error: Exception) -> int:
    """The protocol says 400 where our other APIs say 422."""
    if isinstance(error, LoopwrightError) and not isinstance(error, InvalidError):
        return status_of(error)
    return {UnsupportedError: 501, InvalidError: 400}.get(type(error), 500)


def _no_path(scope: Scope) -> NotFoundError:
    return NotFoundError(f"no {scope['path']} in the Open Inference Protocol")


async def _about() -> Reply:
    about = {"name": "loopwright", "version": version("loopwright-scorer"), "extensions": []}
    return _json(about)


async def _live() -> Reply:
    return _json({"live": True})


def _json(body: Mapping[str, object], status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(body))


def _error(status: int, text: str) -> Reply:
    return _json({"error": text}, status)


def _not_allowed(method: str) -> Reply:
    reply = _error(405, f"use {method} here")
    return Reply(reply.status, reply.body, ((b"allow", method.encode()),))


async def _send(send: Send, reply: Reply) -> None:
    length = str(len(reply.body)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", length),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
