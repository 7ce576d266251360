"""Open Inference Protocol V2 in JSON: requests to tensors, answers to bytes.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import orjson

from loopwright_common.errors import InvalidError
from loopwright_scorer.requests import GivenTensor, Request, UnsupportedError
from loopwright_scorer.tensors import NUMPY_TYPES, NamedTensor, datatype_of


def parse(body: bytes) -> Request:
    """InvalidError names what is wrong with the request, UnsupportedError what is not served."""
    message = _json(body)
    inputs = message.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise InvalidError('inputs: give a list of {"name", "shape", "datatype", "data"}')
    given = dict(_input(entry) for entry in inputs)
    if len(given) < len(inputs):
        raise InvalidError("inputs: a name is given twice; name each input once")
    request_id = message.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidError("id: give text")
    return Request(request_id, given, _outputs(message.get("outputs")))


def write(head: Mapping[str, object], tensors: Sequence[NamedTensor]) -> bytes:
    """The answer with its outputs, numbers row-major; a number that is none becomes null."""
    outputs = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": datatype_of(array.dtype),
            "data": array.ravel().tolist() if array.dtype == object else array.ravel(),
        }
        for name, array in tensors
    ]
    return orjson.dumps({**head, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)


def _json(body: bytes) -> dict[str, Any]:
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


def _input(entry: object) -> tuple[str, GivenTensor]:
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise InvalidError("inputs: each needs a name, a shape, a datatype and data")
    parameters = entry.get("parameters") or {}
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise UnsupportedError(f"input {name!r}: binary tensors are not served; send JSON data")
    datatype = entry.get("datatype")
    if not isinstance(datatype, str) or datatype not in NUMPY_TYPES:
        raise InvalidError(
            f"input {name!r}: datatype {datatype!r}: give one of {', '.join(NUMPY_TYPES)}"
        )
    shape = _shape(name, entry.get("shape"))
    data = _flat(name, entry.get("data"))
    if math.prod(shape) != len(data):
        raise InvalidError(
            f"input {name!r}: shape {list(shape)} needs {math.prod(shape)} values,"
            f" data has {len(data)}"
        )
    return name, GivenTensor(datatype, shape, data)


def _shape(name: str, shape: object) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or not shape
        or not all(type(size) is int and size >= 1 for size in shape)
    ):
        raise InvalidError(f"input {name!r}: shape: give positive whole numbers, rows first")
    return tuple(shape)


def _flat(name: str, data: object) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidError(f"input {name!r}: data: give a list")
    try:
        while data and isinstance(data[0], list):
            data = list(chain.from_iterable(data))
    except TypeError:
        raise InvalidError(f"input {name!r}: data mixes values and lists") from None
    return data


def _outputs(wanted: object) -> frozenset[str] | None:
    if wanted is None or wanted == []:
        return None
    if not isinstance(wanted, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in wanted
    ):
        raise InvalidError('outputs: give a list of {"name"}')
    return frozenset(entry["name"] for entry in wanted)
