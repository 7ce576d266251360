"""Errors as RFC 9457 problem details, and the status that each kind of error has."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from loopwright_common.errors import (
    ConflictError,
    CorruptError,
    HeadTooLargeError,
    InvalidError,
    LoopwrightError,
    MalformedRequestError,
    NotFoundError,
    RefusedError,
    SlowClientError,
    TooLargeError,
    TooManyRequestsError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

STATUS: Mapping[type[LoopwrightError], int] = {
    MalformedRequestError: 400,
    InvalidError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    RefusedError: 403,
    HeadTooLargeError: 431,
    TooLargeError: 413,
    SlowClientError: 408,
    UnsupportedMediaTypeError: 415,
    TooManyRequestsError: 429,
    CorruptError: 500,
    UnavailableError: 503,
}
_MEDIA_TYPE = "application/problem+json"
Refuse = Callable[[str, LoopwrightError], Response]
"""Answers an error in the shape of the protocol that a path belongs to."""


class Problem(BaseModel):
    """RFC 9457 problem details; `errors` names the fields of a wrong request."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (400, 403, 404, 408, 409, 413, 415, 422, 429, 431, 503)
}
"""What any route may answer. The schema is one for all, and the app's: given as a type, FastAPI
would build it anew for each status of each route, which took a quarter of a service's start."""


def problem(status: int, title: str, detail: str, errors: Sequence[Any] | None = None) -> Response:
    body = Problem(
        title=title, status=status, detail=detail, errors=list(errors) if errors else None
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=status, media_type=_MEDIA_TYPE
    )


def status_of(error: LoopwrightError) -> int:
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)


def problem_of(_path: str, error: LoopwrightError) -> Response:
    """The problem that an error is, with when to come again where that is known."""
    field = error.field if isinstance(error, InvalidError) else None
    errors = [{"field": field, "message": str(error)}] if field else None
    title = type(error).__name__.removesuffix("Error")
    answer = problem(status_of(error), title, str(error), errors)
    answer.headers.update(headers_of(error))
    return answer


def headers_of(error: LoopwrightError) -> dict[str, str]:
    """`Retry-After`, where an error says in how many seconds the same may succeed.

    Of a request that is not whole the connection ends: what would come next is its rest.
    """
    if isinstance(error, SlowClientError):
        return {"connection": "close"}
    if isinstance(error, TooManyRequestsError | UnavailableError):
        return {"retry-after": str(error.retry_after)}
    return {}
