"""MLflow's JSON: how requests are read and answers written.

Keys come in snake_case or camelCase, int64 as number or text, null means absent; answers leave out
what is not set and write NaN as text.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from starlette.requests import Request

from loopwright_common.errors import InvalidError
from loopwright_common.name_field import Name
from loopwright_common.web.guard import JSON
from loopwright_registry.mlflow.domain import LARGEST_FLOAT, LARGEST_INTEGER, Metric, check_text

MlflowResponse = dict[str, Any]
Int64 = Annotated[int, Field(ge=-LARGEST_INTEGER - 1, le=LARGEST_INTEGER)]


class MlflowRequest(BaseModel):
    """A request of MLflow's REST API, or a part of one (`mlflow/protos/service.proto`)."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _null_means_absent_and_text_is_text(cls, fields: object) -> object:
        if not isinstance(fields, Mapping):
            return fields
        for name, value in fields.items():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    check_text(name, text)
        return {key: value for key, value in fields.items() if value is not None}

    @classmethod
    def read(cls, fields: Mapping[str, object]) -> Self:
        """Validate fields.

        Raises InvalidError in MLflow's words where a field is missing or wrong.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidError(_complaint(first["type"], first["loc"], first["input"])) from None

    @classmethod
    def lists(cls) -> set[str]:
        """The names of the repeated fields, in both spellings."""
        names = [n for n, f in cls.model_fields.items() if get_origin(f.annotation) is list]
        return {*names, *map(to_camel, names)}


class KeyValue(MlflowRequest):
    """A tag or a parameter."""

    key: Name = Field(max_length=250)
    value: str = ""


class MetricIn(MlflowRequest):
    """A point as clients send it; the time is milliseconds since 1970, a `run_id` is ignored."""

    key: str
    value: float
    timestamp: Int64
    step: Int64 = 0
    model_id: str | None = Field(default=None, max_length=64)
    dataset_name: str | None = Field(default=None, max_length=500)
    dataset_digest: str | None = Field(default=None, max_length=36)

    def metric(self, run_id: str) -> Metric:
        return Metric(
            key=self.key,
            value=self.value,
            timestamp=self.timestamp,
            step=self.step,
            run_id=run_id,
            model_id=self.model_id or None,
            dataset_name=self.dataset_name,
            dataset_digest=self.dataset_digest,
        )


def request_fields(request: Request, request_type: type[MlflowRequest]) -> dict[str, object]:
    """The fields in path, query and body; no body is an empty one.

    Raises InvalidError for a body that is no JSON object.
    """
    if request.method == "GET":
        fields = _query_fields(request, request_type.lists())
    else:
        fields = _body_fields(request.scope.get(JSON, {}))
    return {**fields, **request.path_params}


def encode_response(answer: object) -> bytes:
    """The answer as JSON, without what is not set."""
    return json.dumps(_set_only(answer), separators=(",", ":"), allow_nan=False).encode()


def pairs_json(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def mapping_of(given: Sequence[KeyValue]) -> dict[str, str]:
    return {pair.key: pair.value for pair in given}


def metric_json(metric: Metric) -> MlflowResponse:
    return {
        "key": metric.key,
        "value": metric.value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "dataset_name": metric.dataset_name,
        "dataset_digest": metric.dataset_digest,
        "model_id": metric.model_id,
        "run_id": metric.run_id,
    }


def _set_only(value: object) -> object:
    if isinstance(value, dict):
        return {k: _set_only(v) for k, v in value.items() if v is not None and v != []}
    if isinstance(value, list | tuple):
        return [_set_only(item) for item in value]
    if isinstance(value, float):
        return _number(value)
    return value


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return max(-LARGEST_FLOAT, min(LARGEST_FLOAT, value))


def _query_fields(request: Request, lists: set[str]) -> dict[str, object]:
    query = request.query_params
    return {key: query.getlist(key) if key in lists else query[key] for key in query}


def _body_fields(fields: object) -> dict[str, object]:
    if not isinstance(fields, dict):
        raise InvalidError("the body: give a JSON object")
    return fields


def _complaint(kind: str, location: tuple[int | str, ...], value: object) -> str:
    name = ".".join(str(part) for part in location)
    if kind == "missing":
        return f"Missing value for required parameter '{name}'."
    shown = json.dumps(value, default=str)[:100]
    long = "; it is too long" if kind in ("string_too_long", "too_long") else ""
    return f"Invalid value {shown} for parameter '{name}' supplied{long}."
