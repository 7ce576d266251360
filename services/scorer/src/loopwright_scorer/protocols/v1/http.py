"""KServe's protocol V1: rows in, `{"predictions": [...]}` out.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import orjson

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.serving.spec import Tensor
from loopwright_scorer.errors import UnsupportedError
from loopwright_scorer.inference.codec import InferenceCodec, InferenceResult
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.protocols.base import (
    FastHandler,
    Reply,
    answering_inline,
    call_of,
    json_reply,
    with_id,
)
from loopwright_scorer.protocols.model_address import ModelAddress, parse_address
from loopwright_scorer.protocols.predictions import predictions_reply
from loopwright_scorer.protocols.request import Headers, HttpRequest
from loopwright_scorer.protocols.row_signature import (
    Cells,
    RowSignature,
    check_cells,
    signature_of,
    single_tensor,
)
from loopwright_scorer.tensors.tensors import GivenTensor, InferenceRequest

_PREFIX = "/v1/models/"
_FIELDS = ("instances", "inputs")


class V1Codec:
    """One predict request: a list of rows, or lists by column."""

    def __init__(self, body: bytes, signature: RowSignature) -> None:
        self._body = body
        self._signature = signature

    def read(self) -> InferenceRequest:
        field, given = _given(self._body)
        tensor = self._signature.tensor
        if tensor is not None:
            return InferenceRequest(_tensor(tensor, field, given))
        return InferenceRequest(
            self._signature.tensors(_columns(list(self._signature.columns), field, given))
        )

    def write(self, result: InferenceResult) -> Reply:
        return predictions_reply(result)


class V1Path(NamedTuple):
    """A path taken apart; `verb` is what follows its colon, or empty."""

    address: ModelAddress
    verb: str


class V1Protocol:
    """Serves /v1/models/{model} and /v1/models/{model}:predict."""

    def __init__(self, scoring: InferenceService) -> None:
        self._scoring = scoring
        self._routes = scoring.routes

    fast_endings = (":predict",)

    def claims(self, path: str) -> bool:
        return path.startswith(_PREFIX) and len(path) > len(_PREFIX)

    def refuse(self, status: int, reason: str) -> Reply:
        return json_reply({"error": reason}, status)

    async def reply(self, request: HttpRequest) -> Reply:
        address, verb = parse_path(request.path)
        if verb == "predict":
            request.require_method("POST")
            body = await request.inference_body()
            codec = self._codec(address, body)
            call = call_of(request.headers, address, len(body))
            return with_id(
                await self._scoring.infer(call, codec, request.disconnected, request.charge)
            )
        request.require_method("GET")
        address.find(self._routes)
        return json_reply({"name": address.model, "ready": True})

    def fast_handler(self, path: str, headers: Headers) -> FastHandler | None:
        address, verb = parse_path(path)
        if verb != "predict" or b"content-encoding" in headers:
            return None
        codec_of = partial(self._codec, address)
        return answering_inline(self._scoring, headers, address, codec_of)

    def _codec(self, address: ModelAddress, body: bytes) -> InferenceCodec[Reply]:
        return V1Codec(body, signature_of(self._routes, address))


@lru_cache(4096)
def parse_path(path: str) -> V1Path:
    """NotFoundError for what is not in the protocol, UnsupportedError for what is not served."""
    named, _, verb = path.removeprefix(_PREFIX).partition(":")
    if verb not in ("", "predict"):
        raise UnsupportedError(f"{path:.200}: only :predict is served")
    match named.split("/"):
        case [model]:
            return V1Path(parse_address(model), verb)
        case [model, "versions", number]:
            return V1Path(parse_address(model, number), verb)
    raise NotFoundError(
        f"no {path:.200}; a model has {_PREFIX}<model> and {_PREFIX}<model>:predict"
    )


def _given(body: bytes) -> tuple[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidError(f"the body is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidError('the body: give {"instances": [...]}')
    fields = [field for field in _FIELDS if field in message]
    if len(fields) != 1 or not isinstance(message[fields[0]], list | dict):
        raise InvalidError("the body: give a list of rows as instances, or lists by name as inputs")
    return fields[0], message[fields[0]]


def _columns(names: Sequence[str], field: str, given: Any) -> dict[str, Cells]:
    if isinstance(given, dict):
        return _by_name(field, given)
    if not given:
        raise InvalidError(f"{field}: there are no rows")
    if all(isinstance(row, dict) for row in given):
        known = dict.fromkeys(name for row in given for name in row)
        check_cells(len(given), len(known))
        return {name: [row.get(name) for row in given] for name in known}
    rows = given if isinstance(given[0], list) else [[row] for row in given]
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise InvalidError(
            f"{field}: give {len(names)} values per row, in the order {', '.join(names)}, or"
            " objects with these names"
        )
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _by_name(field: str, given: dict[str, Any]) -> dict[str, Cells]:
    for name, cells in given.items():
        if not isinstance(cells, list):
            raise InvalidError(f"{field}: {name!r}: give a list, a value for each row")
    return given


def _tensor(tensor: Tensor, field: str, given: Any) -> dict[str, GivenTensor]:
    if isinstance(given, dict):
        given = given.get(tensor.name)
    elif given and all(isinstance(row, dict) for row in given):
        given = [row.get(tensor.name) for row in given]
    try:
        array = np.array(given)
    except ValueError as error:
        raise InvalidError(f"{field}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise InvalidError(f"{field}: give nested lists of numbers")
    return single_tensor(tensor, array)
