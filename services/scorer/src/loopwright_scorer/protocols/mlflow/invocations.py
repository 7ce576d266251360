"""MLflow's scoring contract: JSON in four forms and CSV in, `{"predictions": ...}` out.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#local-inference-server-spec
"""

import json
import math
from typing import Any

import numpy as np
import orjson

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import Tensor
from loopwright_scorer.inference.codec import InferenceResult
from loopwright_scorer.protocols.base import Reply
from loopwright_scorer.protocols.mlflow import coercion, dataframe_json
from loopwright_scorer.protocols.mlflow.csv import read_csv
from loopwright_scorer.protocols.mlflow.dataframe_json import Frame
from loopwright_scorer.protocols.predictions import predictions_reply
from loopwright_scorer.protocols.row_signature import RowSignature, single_tensor
from loopwright_scorer.tensors.tensors import GivenTensor, InferenceRequest

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_FOR_LANGUAGE = ("messages", "prompt", "input")


class JsonInvocationCodec:
    """One request in JSON. `params` are ignored: models here have none."""

    def __init__(self, body: bytes, signature: RowSignature) -> None:
        self._body = body
        self._signature = signature

    def read(self) -> InferenceRequest:
        form, content = _content(self._body)
        if self._signature.tensor is not None:
            return InferenceRequest(_tensor(self._signature.tensor, form, content))
        cast = (
            coercion.coerce_dataframe_column
            if form.startswith("dataframe")
            else coercion.coerce_array_column
        )
        return InferenceRequest(
            _cast(self._signature, _frame(self._signature, form, content), cast)
        )

    def write(self, result: InferenceResult) -> Reply:
        return predictions_reply(result)


class CsvInvocationCodec:
    """One request in CSV."""

    def __init__(self, body: bytes, signature: RowSignature) -> None:
        self._body = body
        self._signature = signature

    def read(self) -> InferenceRequest:
        return InferenceRequest(
            _cast(
                self._signature,
                read_csv(self._body, self._signature),
                coercion.coerce_dataframe_column,
            )
        )

    def write(self, result: InferenceResult) -> Reply:
        return predictions_reply(result)


def _content(body: bytes) -> tuple[str, Any]:
    """The form a request has, and what is given in it."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = _lenient(body)
    if not isinstance(message, dict):
        raise InvalidError(f"the body: give a JSON object with one of {', '.join(FORMS)}")
    if found := next((name for name in _FOR_LANGUAGE if name in message), None):
        raise InvalidError(f"{found}: models here take rows: give one of {', '.join(FORMS)}")
    given = [form for form in FORMS if form in message]
    if len(given) != 1:
        raise InvalidError(
            f"the body: give exactly one of {', '.join(FORMS)}; it has {', '.join(given) or 'none'}"
        )
    return given[0], message[given[0]]


def _lenient(body: bytes) -> object:
    """NaN and Infinity, which Python writes into JSON, are read as such."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"the body is not JSON: {error}") from None


def _cast(signature: RowSignature, frame: Frame, cast: coercion.Cast) -> dict[str, GivenTensor]:
    kinds = signature.value_types()
    return signature.tensors(
        {name: cast(name, kind, frame[name]) for name, kind in kinds if name in frame}
    )


def _frame(signature: RowSignature, form: str, content: object) -> Frame:
    if form == "dataframe_split":
        return dataframe_json.from_split(content)
    if form == "dataframe_records":
        return dataframe_json.from_records(content, form)
    if isinstance(content, dict):
        return dataframe_json.from_columns(content, form)
    if isinstance(content, list) and content and isinstance(content[0], dict):
        read = dataframe_json.from_instances if form == "instances" else dataframe_json.from_records
        return read(content, form)
    if isinstance(content, list) and len(signature.columns) == 1:
        return {next(iter(signature.columns)): content}
    raise InvalidError(f"{form}: the model's columns have names: give lists or values by name")


def _tensor(tensor: Tensor, form: str, content: Any) -> dict[str, GivenTensor]:
    dtype = np.dtype(tensor.dtype)
    if form.startswith("dataframe"):
        frame = _frame(RowSignature({}, tensor), form, content)
        return single_tensor(tensor, _framed(tensor, dtype, frame))
    if isinstance(content, dict):
        content = content.get(tensor.name)
    elif form == "instances" and _has_names(content):
        content = [row.get(tensor.name) for row in content]
    return single_tensor(tensor, coercion.nested_array(tensor.name, dtype, content))


def _has_names(rows: object) -> bool:
    return isinstance(rows, list) and rows != [] and all(isinstance(row, dict) for row in rows)


def _framed(tensor: Tensor, dtype: np.dtype, frame: Frame) -> np.ndarray:
    """A column of flat lists, or as many columns of numbers as the tensor has."""
    if tensor.name not in frame and len(frame) != 1:
        if tensor.shape != [len(frame)]:
            raise InvalidError(f"no input {tensor.name!r}: give it as a column of flat lists")
        return coercion.nested_array(tensor.name, dtype, list(frame.values())).T
    cells = frame.get(tensor.name) or next(iter(frame.values()))
    array = coercion.nested_array(tensor.name, dtype, cells)
    if array.ndim > 2 or array.size != len(cells) * math.prod(tensor.shape):
        raise InvalidError(
            f"input {tensor.name!r}: give each row as a flat list of"
            f" {math.prod(tensor.shape)} values",
            field=tensor.name,
        )
    return array.reshape(len(cells), *tensor.shape)
