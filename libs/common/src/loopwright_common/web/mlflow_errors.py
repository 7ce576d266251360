"""Errors as MLflow's clients read them, for every layer that refuses something on its paths."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loopwright_common.errors import (
    AlreadyExistsError,
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
from loopwright_common.web.problems import headers_of

CODES: Mapping[type[LoopwrightError], tuple[int, str]] = {
    AlreadyExistsError: (400, "RESOURCE_ALREADY_EXISTS"),
    MalformedRequestError: (400, "BAD_REQUEST"),
    InvalidError: (400, "INVALID_PARAMETER_VALUE"),
    HeadTooLargeError: (431, "INVALID_PARAMETER_VALUE"),
    TooLargeError: (413, "INVALID_PARAMETER_VALUE"),
    NotFoundError: (404, "RESOURCE_DOES_NOT_EXIST"),
    ConflictError: (409, "RESOURCE_CONFLICT"),
    RefusedError: (403, "PERMISSION_DENIED"),
    CorruptError: (500, "DATA_LOSS"),
    UnsupportedMediaTypeError: (415, "INVALID_PARAMETER_VALUE"),
    SlowClientError: (408, "BAD_REQUEST"),
    TooManyRequestsError: (429, "REQUEST_LIMIT_EXCEEDED"),
    UnavailableError: (503, "TEMPORARILY_UNAVAILABLE"),
}


def mlflow_error(status: int, code: str, message: str) -> Response:
    """An error as MLflow's REST API has it."""
    return JSONResponse({"error_code": code, "message": message}, status_code=status)


def mlflow_error_of(_path: str, error: LoopwrightError) -> Response:
    """The answer that an error is, with when to come again where that is known."""
    found = next((CODES[kind] for kind in CODES if isinstance(error, kind)), None)
    status, code = found or (500, "INTERNAL_ERROR")
    answer = mlflow_error(status, code, str(error))
    answer.headers.update(headers_of(error))
    return answer


async def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LoopwrightError):
        raise error
    return mlflow_error_of(request.url.path, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = "ENDPOINT_NOT_FOUND" if status in (404, 405) else "BAD_REQUEST"
    asked = f"{request.method} {request.url.path}"
    return mlflow_error(404 if status == 405 else status, code, asked)


async def _on_fault(_request: Request, error: Exception) -> Response:
    return mlflow_error(500, "INTERNAL_ERROR", f"internal fault: {type(error).__name__}")


MLFLOW_ERRORS: Mapping[Any, Any] = {
    LoopwrightError: _on_error,
    HTTPException: _on_http_error,
    Exception: _on_fault,
}
"""The exception handlers of an app that speaks MLflow's protocol."""
