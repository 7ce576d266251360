"""MLflow's scoring server: its paths, under /models/{model} and at the root.

At the root the model is the only one served, or the one the header `loopwright-model` names.
"""

from functools import lru_cache
from typing import NamedTuple

from loopwright_common.errors import InvalidError, NotFoundError, UnsupportedMediaTypeError
from loopwright_scorer.inference.codec import InferenceCall, InferenceCodec
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.protocols.arrow.codec import (
    COLUMNAR,
    accepted_columnar_type,
    columnar_media_type,
    read_columnar,
    table_reply,
)
from loopwright_scorer.protocols.base import FastHandler, Reply, call_of, json_reply, with_id
from loopwright_scorer.protocols.mlflow.invocations import CsvInvocationCodec, JsonInvocationCodec
from loopwright_scorer.protocols.model_address import ModelAddress, parse_address
from loopwright_scorer.protocols.predictions import predictions_reply
from loopwright_scorer.protocols.request import Headers, HttpRequest
from loopwright_scorer.protocols.row_signature import signature_of

CONTRACT = "3.17.2"
"""The MLflow version whose contract is spoken."""
MODEL = b"loopwright-model"
_MEDIA = ("application/json", "text/csv")
_ROOT = ("/invocations", "/ping", "/health")
_CODES = {
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_PLAIN = ((b"content-type", b"application/json"),)  # MLflow's own word for its plain answers


class MlflowPath(NamedTuple):
    """What a path asks of a model; without an address of the one served or named."""

    address: ModelAddress | None
    action: str


class MlflowProtocol:
    """Serves /models/{model} and MLflow's paths at the root."""

    def __init__(self, scoring: InferenceService) -> None:
        self._scoring = scoring
        self._routes = scoring.routes

    fast_endings = ("/invocations",)

    def claims(self, path: str) -> bool:
        return path in _ROOT or path.startswith("/models/")

    def refuse(self, status: int, reason: str) -> Reply:
        if status == 415:
            return Reply(status, reason.encode(), _TEXT)
        code = _CODES.get(status, "BAD_REQUEST")
        return json_reply({"error_code": code, "message": reason}, status)

    async def reply(self, request: HttpRequest) -> Reply:
        address, action = parse_path(request.path)
        if action == "invocations":
            request.require_method("POST")
            call, codec = await self._invocation_of(address, request)
            return with_id(
                await self._scoring.infer(call, codec, request.disconnected, request.charge)
            )
        request.require_method("GET")
        if address is not None or MODEL in request.headers or not self._routes.all():
            (address or self._address_of(request.headers)).find(self._routes)
        return Reply(200, CONTRACT.encode() if action == "version" else b"\n", _PLAIN)

    def fast_handler(self, path: str, headers: Headers) -> FastHandler | None:
        address, action = parse_path(path)
        if (
            action != "invocations"
            or b"content-encoding" in headers
            or columnar_media_type(headers)
        ):
            return None

        def answer(body: bytes) -> Reply | None:
            response = self._scoring.infer_inline(*self._invocation(address, headers, body))
            return with_id(response) if response else None

        return answer

    async def _invocation_of(
        self, address: ModelAddress | None, request: HttpRequest
    ) -> tuple[InferenceCall, InferenceCodec[Reply]]:
        body, headers = await request.inference_body(), request.headers
        media = columnar_media_type(headers)
        if media is None:
            return self._invocation(address, headers, body)
        address = address or self._address_of(headers)
        inputs = address.find(self._routes)[1].model.signature.inputs
        accepted = accepted_columnar_type(headers)
        write_as = table_reply(accepted) if accepted else predictions_reply
        codec = await read_columnar(body, media, inputs, write_as, request.charge)
        return call_of(headers, address, codec.size), codec

    def _invocation(
        self, address: ModelAddress | None, headers: Headers, body: bytes
    ) -> tuple[InferenceCall, InferenceCodec[Reply]]:
        address = address or self._address_of(headers)
        media, signature = _media(headers), signature_of(self._routes, address)
        call = call_of(headers, address, len(body))
        if media == "text/csv":
            return call, CsvInvocationCodec(body, signature)
        return call, JsonInvocationCodec(body, signature)

    def _address_of(self, headers: Headers) -> ModelAddress:
        """Whom a path at the root is for; InvalidError where that is open."""
        if named := headers.get(MODEL):
            return parse_address(named.decode("latin-1"))
        match self._routes.all():
            case [only]:
                return ModelAddress(only.model)
            case []:
                raise NotFoundError("no model is served here yet")
            case several:
                names = ", ".join(route.model for route in several)
                raise InvalidError(
                    f"several models are served: {names}; name one in the header"
                    f" {MODEL.decode()}, or post to /models/<model>/invocations"
                )


@lru_cache(4096)
def parse_path(path: str) -> MlflowPath:
    """NotFoundError for what is not in the contract."""
    match path.strip("/").split("/"):
        case ["invocations" | "ping" | "health" as action]:
            return MlflowPath(None, action)
        case ["models", model, "invocations" | "ping" | "health" | "version" as action]:
            return MlflowPath(parse_address(model), action)
        case [
            "models", model, "versions", number,
            "invocations" | "ping" | "health" | "version" as action,
        ]:  # fmt: skip
            return MlflowPath(parse_address(model, number), action)
    raise NotFoundError(
        f"no {path:.200}; a model has /models/<model>/invocations, /ping, /health and /version"
    )


def _media(headers: Headers) -> str:
    """The body's media type; UnsupportedMediaTypeError where MLflow does not take it."""
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    media, *parameters = [part.strip() for part in content_type.split(";")]
    if media not in _MEDIA or any(part.lower() != "charset=utf-8" for part in parameters):
        raise UnsupportedMediaTypeError(
            f"content-type {content_type!r:.200}: send one of {', '.join((*_MEDIA, *COLUMNAR))},"
            " text in UTF-8 and without other parameters"
        )
    return media
