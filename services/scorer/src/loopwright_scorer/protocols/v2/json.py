"""Open Inference Protocol V2 over HTTP: bodies in JSON, and with raw tensors behind it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import orjson

from loopwright_common.errors import InvalidError
from loopwright_scorer.inference.codec import InferenceResult
from loopwright_scorer.protocols import raw_tensors
from loopwright_scorer.protocols.base import Reply
from loopwright_scorer.protocols.request import JSON_LENGTH
from loopwright_scorer.protocols.v2 import bulk_json
from loopwright_scorer.protocols.v2.rules import (
    DeclaredTensor,
    check_extensions,
    check_inputs,
    timeout_in,
)
from loopwright_scorer.tensors.tensors import (
    InferenceRequest,
    OutputTensor,
)

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True)
class V2JsonCodec:
    """One infer request; `json_length` is the JSON's when raw tensors follow it, in bytes."""

    body: bytes
    json_length: int | None = None
    _all_raw: bool = False
    _raw: Mapping[str, bool] = field(default_factory=dict)

    def read(self) -> InferenceRequest:
        body, length = self.body, self.json_length
        if length is None:
            length = len(body)
        elif length > len(body):
            raise InvalidError(
                f"Inference-Header-Content-Length is {length}, the body has {len(body)} bytes"
            )
        message = _message(body[:length])
        given = message.get("inputs")
        if not isinstance(given, list) or not given:
            raise InvalidError('inputs: give a list of {"name", "shape", "datatype", "data"}')
        inputs = check_inputs(_declared_inputs(given, body, length))
        if len(inputs) < len(given):
            raise InvalidError("inputs: a name is given twice; name each input once")
        parameters = _parameters("the request", message)
        timeout = timeout_in(parameters) if parameters else None
        self._all_raw = parameters.get("binary_data_output") is True
        request_id = message.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise InvalidError("id: give text")
        outputs = self._outputs(message.get("outputs"))
        return InferenceRequest(inputs, request_id or None, outputs, timeout)

    def write(self, answered: InferenceResult) -> Reply:
        request = answered.request
        head: dict[str, object] = {
            "model_name": answered.route.model,
            "model_version": str(answered.arm.version),
        }
        if request.id is not None:
            head["id"] = request.id
        if answered.inputs.ignored:
            head["parameters"] = {"ignored_inputs": ", ".join(answered.inputs.ignored)}
        tails: list[bytes] = []
        head["outputs"] = [
            self._output(each, tails) for each in answered.outputs.tensors(request.outputs)
        ]
        body = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
        if not tails:
            return Reply(200, body, (_JSON,))
        length = (JSON_LENGTH, b"%d" % len(body))
        return Reply(200, b"".join((body, *tails)), (_BINARY, length))

    def _outputs(self, wanted: object) -> frozenset[str] | None:
        if wanted is None or wanted == []:
            return None
        if not isinstance(wanted, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in wanted
        ):
            raise InvalidError('outputs: give a list of {"name"}')
        named = {entry["name"]: _parameters(f"output {entry['name']!r}", entry) for entry in wanted}
        self._raw = {
            name: parameters["binary_data"] is True
            for name, parameters in named.items()
            if "binary_data" in parameters
        }
        return frozenset(named)

    def _output(self, tensor: OutputTensor, tails: list[bytes]) -> dict[str, object]:
        """The output's JSON; raw bytes are added to `tails`."""
        name, datatype, array = tensor
        output: dict[str, object] = {"name": name, "shape": array.shape, "datatype": datatype}
        if self._raw.get(name, self._all_raw):
            tails.append(raw_tensors.encode_tensor(array))
            return {**output, "parameters": {"binary_data_size": len(tails[-1])}}
        flat = array.ravel()
        return {**output, "data": flat.tolist() if array.dtype == object else flat}


def _message(body: bytes) -> dict[str, Any]:
    if len(body) >= bulk_json.WORTHWHILE and (parsed := bulk_json.parsed(body)):
        return parsed
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = _lenient(body, error)
    if not isinstance(message, dict):
        raise InvalidError('the body: give a JSON object with "inputs"')
    return message


def _lenient(body: bytes, error: orjson.JSONDecodeError) -> object:
    """Python clients write NaN and Infinity, which are no JSON; they mean what they say."""
    if b"NaN" in body or b"Infinity" in body:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
    raise InvalidError(f"the body is not JSON: {error}") from None


def _declared_inputs(given: list[Any], body: bytes, length: int) -> list[DeclaredTensor]:
    """The inputs as they are declared, with what is theirs of the JSON or of the bytes after it."""
    declared = []
    end = length
    for entry in given:
        if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
            raise InvalidError("inputs: each needs a name, a shape, a datatype and data")
        size = _raw_size(name, entry)
        data: list[Any] | np.ndarray | memoryview
        if size is None:
            data = _flat(name, entry.get("data"))
        else:
            data = memoryview(body)[end : end + size]
            end += size
        declared.append(DeclaredTensor(name, entry.get("datatype"), entry.get("shape"), data))
    if end != len(body):
        raise InvalidError(
            f"{len(body) - length} bytes of raw tensors follow the JSON, and its inputs take"
            f" {end - length}: check binary_data_size"
        )
    return declared


def _parameters(where: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = entry.get("parameters")
    if not parameters:
        return _NOTHING
    if not isinstance(parameters, dict):
        raise InvalidError(f"{where}: parameters: give a JSON object")
    check_extensions(where, parameters)
    return parameters


def _raw_size(name: str, entry: Mapping[str, Any]) -> int | None:
    """How many bytes of this input follow the JSON; None where its data is in it."""
    size = _parameters(f"input {name!r}", entry).get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidError(f"input {name!r}: binary_data_size: give a number of bytes", field=name)
    if "data" in entry:
        raise InvalidError(f"input {name!r}: give data or binary_data_size, not both", field=name)
    return size


def _flat(name: str, data: object) -> list[Any] | np.ndarray:
    if isinstance(data, np.ndarray):
        return data
    if not isinstance(data, list):
        raise InvalidError(f"input {name!r}: data: give a list")
    try:
        while data and isinstance(data[0], list):
            data = list(chain.from_iterable(data))
    except TypeError:
        raise InvalidError(f"input {name!r}: data mixes values and lists") from None
    return data
