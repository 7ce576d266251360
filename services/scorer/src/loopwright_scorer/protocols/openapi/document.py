"""OpenAPI of one model: its inputs by name and type, and a request that works as it is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loopwright_common.serving.spec import Column, Tensor
from loopwright_scorer.inference.metadata import describe
from loopwright_scorer.models.loaded_model import LoadedModel
from loopwright_scorer.routing.routes import Route, ServedArm
from loopwright_scorer.tensors.datatypes import VALUE_TYPES
from loopwright_scorer.tensors.example_rows import example_of
from loopwright_scorer.tensors.tensors import TensorType

Schema = dict[str, Any]
_TYPES = {"B": "boolean", "F": "number", "I": "integer", "U": "integer"}
_TEXT: Schema = {"type": "string"}


@dataclass(frozen=True, slots=True)
class _Request:
    """A body by its schema, and one of that kind."""

    schema: Schema
    example: Schema


def document(route: Route, arm: ServedArm, path: str) -> Schema:
    """`path` names the model as clients do, `/models/bank` or `/models/bank/versions/3`."""
    model = arm.model
    row = _Row(model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": route.model,
            "version": str(arm.version),
            "description": f"A {model.spec.task}, served as {model.spec.format}.",
        },
        "paths": {
            f"/v2{path}/infer": _post(
                "Open Inference Protocol V2",
                row.tensors(),
                _answered(describe(route, arm)["outputs"]),
                {"error": _TEXT},
            ),
            f"{path}/invocations": _post(
                "MLflow",
                row.rows("inputs" if model.spec.tensor else "dataframe_records"),
                _predicted(),
                {"error_code": _TEXT, "message": _TEXT},
            ),
            f"/v1{path}:predict": _post(
                "KServe V1", row.rows("instances"), _predicted(), {"error": _TEXT}
            ),
        },
    }


class _Row:
    """The example's first row, in the forms of the protocols."""

    def __init__(self, model: LoadedModel) -> None:
        example = example_of(model.spec, model.signature)
        self._inputs: Sequence[TensorType] = model.signature.inputs
        self._columns, self._tensor = model.spec.columns, model.spec.tensor
        self._cells = {name: _cells(array[:1]) for name, array in example.arrays.items()}

    def tensors(self) -> _Request:
        schemas = self._values()
        inputs = {
            "type": "array",
            "items": {"anyOf": [self._input(schemas, each) for each in self._inputs]},
        }
        example = [
            {
                "name": tensor.name,
                "shape": list(np.shape(self._cells[tensor.name])),
                "datatype": tensor.datatype,
                "data": self._cells[tensor.name],
            }
            for tensor in self._inputs
        ]
        return _Request(_object({"inputs": inputs}), {"inputs": example})

    def rows(self, field: str) -> _Request:
        if self._tensor is not None:
            (cells,) = self._cells.values()
            return _Request(_object({field: _nested(self._tensor)}), {field: cells})
        columns = self._columns or []
        needed = [column.name for column in columns if column.required or not _may_miss(column)]
        row = _object(self._values(), needed)
        example = {name: cells[0] for name, cells in self._cells.items()}
        return _Request(_object({field: {"type": "array", "items": row}}), {field: [example]})

    def _values(self) -> Mapping[str, Schema]:
        """What one value of each input is."""
        if self._tensor is not None:
            return {self._tensor.name: _value(self._inputs[0].datatype)}
        return {column.name: _column(column) for column in self._columns or []}

    def _input(self, values: Mapping[str, Schema], tensor: TensorType) -> Schema:
        data = (
            {"type": "array", "items": values[tensor.name]}
            if len(tensor.shape) == 1
            else {"type": "array"}
        )
        return _object(
            {
                "name": {"const": tensor.name},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                "datatype": {"const": tensor.datatype},
                "data": data,
            }
        )


def _post(protocol: str, request: _Request, answer: Schema, error: Mapping[str, Schema]) -> Schema:
    problem = {
        "description": "What is wrong, and what to do.",
        "content": {"application/json": {"schema": _object(error)}},
    }
    content = {"schema": request.schema, "example": request.example}
    return {
        "post": {
            "summary": protocol,
            "operationId": protocol.lower().replace(" ", "_"),
            "requestBody": {"required": True, "content": {"application/json": content}},
            "responses": {
                "200": {
                    "description": "The answer to each row.",
                    "headers": {"loopwright-prediction-id": {"schema": _TEXT}},
                    "content": {"application/json": {"schema": answer}},
                },
                "400": problem,
                "default": problem,
            },
        }
    }


def _answered(outputs: Any) -> Schema:
    """The answer of V2; `outputs` are those of its metadata."""
    output = _object(
        {
            "name": {"enum": [output["name"] for output in outputs]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"enum": sorted({output["datatype"] for output in outputs})},
            "data": {"type": "array"},
        }
    )
    listed = {"type": "array", "items": output}
    return _object({"model_name": _TEXT, "model_version": _TEXT, "outputs": listed})


def _predicted() -> Schema:
    return _object({"predictions": {"type": "array"}})


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None) -> Schema:
    needed = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": needed}


def _column(column: Column) -> Schema:
    schema = _value(VALUE_TYPES[column.type].datatype)
    if column.type == "datetime":
        schema |= {"description": "ISO 8601, without a time zone"}
    return {**schema, "type": [schema["type"], "null"]} if _may_miss(column) else schema


def _may_miss(column: Column) -> bool:
    return VALUE_TYPES[column.type].nullable


def _value(datatype: str) -> Schema:
    return {"type": "string" if datatype == "BYTES" else _TYPES[datatype[0]]}


def _nested(tensor: Tensor) -> Schema:
    """Lists as deep as the tensor's shape, rows outermost."""
    schema: Schema = {"type": "number"}
    for size in (*reversed(tensor.shape), -1):
        schema = {"type": "array", "items": schema}
        if size > 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _cells(array: np.ndarray) -> list[Any]:
    """Values as JSON has them: null where one is missing."""
    if array.dtype.kind == "M":
        texts = np.datetime_as_string(array).tolist()
        return [None if text == "NaT" else text for text in texts]
    if array.dtype.kind == "f" and np.isnan(array).any():
        array = array.astype(object)
        array[array != array] = None  # noqa: PLR0124 - NaN
    return list(array.tolist())
