"""Open Inference Protocol V2 over HTTP: its paths.

Every answer that is no success is {"error": "..."}: clients read nothing else.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from importlib.metadata import version
from typing import NamedTuple

import orjson

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_scorer.errors import UnsupportedError
from loopwright_scorer.inference.call_recorder import CallStats
from loopwright_scorer.inference.codec import InferenceCodec
from loopwright_scorer.inference.metadata import configuration, describe, statistics
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.protocols.arrow.codec import (
    Write,
    accepted_columnar_type,
    columnar_media_type,
    read_columnar,
    table_reply,
)
from loopwright_scorer.protocols.base import (
    FastHandler,
    Reply,
    answering_inline,
    call_of,
    json_reply,
    with_id,
)
from loopwright_scorer.protocols.model_address import ModelAddress, parse_address
from loopwright_scorer.protocols.model_repository import ModelRepository
from loopwright_scorer.protocols.request import JSON_LENGTH, Headers, HttpRequest
from loopwright_scorer.protocols.v2.json import V2JsonCodec

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
)
_NOT_SERVED = {"logging", "trace", "systemsharedmemory", "cudasharedmemory"}
_MODEL_NOT_SERVED = {"trace", "generate", "generate_stream"}
_LARGEST_LENGTH = 19
"""Digits of a length that is a number at all."""


class V2Path(NamedTuple):
    """What is asked under /v2, of the model at `address` or of the server itself."""

    address: ModelAddress | None
    action: str


class V2Protocol:
    """Serves /v2."""

    def __init__(
        self,
        scoring: InferenceService,
        unready: Callable[[], Awaitable[str | None]],
        stats: CallStats,
        repository: ModelRepository,
    ) -> None:
        self._scoring = scoring
        self._routes = scoring.routes
        self._unready = unready
        self._stats = stats
        self._repository = repository

    fast_endings = ("/infer",)

    def claims(self, path: str) -> bool:
        return path.startswith("/v2") and (len(path) == 3 or path[3] == "/")

    def refuse(self, status: int, reason: str) -> Reply:
        return json_reply({"error": reason}, status)

    def fast_handler(self, path: str, headers: Headers) -> FastHandler | None:
        address, action = parse_path(path)
        if address is None or action != "infer":
            return None
        if b"content-encoding" in headers or columnar_media_type(headers):
            return None
        codec_of = partial(V2JsonCodec, json_length=_json_length(headers))
        return answering_inline(self._scoring, headers, address, codec_of)

    async def reply(self, request: HttpRequest) -> Reply:
        address, action = parse_path(request.path)
        if address is None:
            return await self._server(request, action)
        if action == "infer":
            return await self._infer(request, address)
        return self._model(request, address, action)

    async def _infer(self, request: HttpRequest, address: ModelAddress) -> Reply:
        request.require_method("POST")
        body = await request.inference_body()
        headers, size = request.headers, len(body)
        codec: InferenceCodec[Reply]
        if media := columnar_media_type(headers):
            inputs = address.find(self._routes)[1].model.signature.inputs
            write_as = _answer_in(headers, media)
            table = await read_columnar(body, media, inputs, write_as, request.charge)
            codec, size = table, table.size
        else:
            codec = V2JsonCodec(body, _json_length(headers))
        call = call_of(headers, address, size)
        return with_id(await self._scoring.infer(call, codec, request.disconnected, request.charge))

    def _model(self, request: HttpRequest, address: ModelAddress, action: str) -> Reply:
        request.require_method("GET")
        route, arm = address.find(self._routes)
        match action:
            case "":
                return json_reply(describe(route, arm, matrix=_wants_matrix(request)))
            case "ready":
                return json_reply({"name": address.model, "ready": True})
            case "config":
                return json_reply(configuration(route, arm))
            case _:
                named = None if address.version is None and address.alias is None else arm.version
                return json_reply(statistics([route], self._stats, named))

    async def _server(self, request: HttpRequest, action: str) -> Reply:
        if action.startswith("repository/"):
            return await self._of_repository(request, action)
        request.require_method("GET")
        match action:
            case "":
                return _about()
            case "health/live":
                return json_reply({"live": True})
            case "health/ready":
                reason = await self._unready()
                return self.refuse(503, reason) if reason else json_reply({"ready": True})
            case _:
                return json_reply(statistics(self._routes.all(), self._stats))

    async def _of_repository(self, request: HttpRequest, action: str) -> Reply:
        request.require_method("POST")
        asked = _object(await request.body())
        match action.split("/"):
            case [_, _, model, "load"]:
                await self._repository.load(model, asked.get("parameters"))
            case [_, _, model, "unload"]:
                await self._repository.unload(model)
            case _:
                return json_reply(self._repository.index(only_ready=asked.get("ready") is True))
        return json_reply({})


@lru_cache(4096)
def parse_path(path: str) -> V2Path:
    """NotFoundError for what is not in the protocol, UnsupportedError for what is not served."""
    match path.strip("/").split("/")[1:]:
        case [] | ["health", "live" | "ready"] | ["models", "stats"] | ["repository", "index"]:
            return V2Path(None, path.strip("/")[3:])
        case ["repository", "models", _, "load" | "unload"]:
            return V2Path(None, path.strip("/")[3:])
        case ["models", model, "versions", number, *rest]:
            return V2Path(parse_address(model, number), _action(path, rest))
        case ["models", model, *rest]:
            return V2Path(parse_address(model), _action(path, rest))
        case [first, *_] if first in _NOT_SERVED:
            raise UnsupportedError(f"{path}: this extension is not served")
    raise _no_path(path)


def _action(path: str, rest: list[str]) -> str:
    if not rest:
        return ""
    if len(rest) == 1 and rest[0] in ("infer", "ready", "config", "stats"):
        return rest[0]
    if rest[0] in _MODEL_NOT_SERVED:
        raise UnsupportedError(f"{path}: this extension is not served")
    raise _no_path(path)


def _answer_in(headers: Headers, media: str) -> Write:
    """As the request asks, else in the format that it has itself."""
    if b"application/json" in headers.get(b"accept", b""):
        return V2JsonCodec(b"").write
    return table_reply(accepted_columnar_type(headers) or media)


def _about() -> Reply:
    about = {"name": "loopwright", "version": version("loopwright-scorer")}
    return json_reply({**about, "extensions": EXTENSIONS})


def _no_path(path: str) -> NotFoundError:
    return NotFoundError(f"no {path:.200} in the Open Inference Protocol")


def _json_length(headers: Headers) -> int | None:
    length = headers.get(JSON_LENGTH)
    if length is None:
        return None
    if not length.isdigit() or len(length) > _LARGEST_LENGTH:
        raise InvalidError("Inference-Header-Content-Length: give the JSON's length in bytes")
    return int(length)


def _wants_matrix(request: HttpRequest) -> bool:
    return b"inputs=matrix" in request.query.split(b"&")


def _object(body: bytes) -> dict[str, object]:
    """An empty body is an empty object."""
    try:
        content = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidError(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidError("the body: give a JSON object")
    return content
