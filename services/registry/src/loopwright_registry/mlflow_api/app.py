"""MLflow's REST API as one app, with MLflow's error shape; mounted at /api and /ajax-api."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopwright_common.errors import (
    ConflictError,
    CorruptError,
    HeadTooLargeError,
    InvalidError,
    LoopwrightError,
    NotFoundError,
    RefusedError,
    SlowClientError,
    TooLargeError,
    TooManyRequestsError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from loopwright_common.web.problems import headers_of
from loopwright_common.web.request_limits import takes_body
from loopwright_registry.mlflow.domain import AlreadyExistsError
from loopwright_registry.mlflow.endpoint import (
    Endpoint,
    Endpoints,
    MlflowContext,
    bearer_of,
    cause_of,
)
from loopwright_registry.mlflow.json import encode_response, request_fields

CODES: Mapping[type[LoopwrightError], tuple[int, str]] = {
    AlreadyExistsError: (400, "RESOURCE_ALREADY_EXISTS"),
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
SERVER_INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False,
    "artifact_serving_enabled": True,
    "artifacts_presigned_only": False,
}


def create_mlflow_app(
    endpoints: Endpoints, streaming: Sequence[Route], context: MlflowContext
) -> Starlette:
    """All endpoints as one app.

    `streaming` are routes that stream and so read their requests themselves.
    """
    routes = [
        Route(f"/2.0{endpoint.path}", _route(endpoint, context), methods=[endpoint.method])
        for endpoint in endpoints
    ]
    info = Route("/3.0/mlflow/server-info", _server_info, methods=["GET"])
    return Starlette(
        routes=[*routes, *streaming, info],
        exception_handlers={
            LoopwrightError: _on_error,
            HTTPException: _on_http_error,
            Exception: _on_fault,
        },
    )


def _route(
    endpoint: Endpoint[Any], context: MlflowContext
) -> Callable[[Request], Awaitable[Response]]:
    @takes_body(endpoint.body_limit)
    async def answer(request: Request) -> Response:
        parsed = endpoint.request_type.read(request_fields(request, endpoint.request_type))
        given = replace(context, cause=cause_of(request), bearer=bearer_of(request))
        body = encode_response(await endpoint.handle(parsed, given))
        return Response(body, media_type="application/json")

    return answer


async def _server_info(_request: Request) -> Response:
    return JSONResponse(SERVER_INFO)


def error_answer(error: LoopwrightError) -> Response:
    """MLflow's shape of an error."""
    found = next((CODES[kind] for kind in CODES if isinstance(error, kind)), None)
    status, code = found or (500, "INTERNAL_ERROR")
    answer = _error_response(status, code, str(error))
    answer.headers.update(headers_of(error))
    return answer


async def _on_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, LoopwrightError):
        raise error
    return error_answer(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = "ENDPOINT_NOT_FOUND" if status in (404, 405) else "BAD_REQUEST"
    return _error_response(
        404 if status == 405 else status, code, f"{request.method} {request.url.path}"
    )


async def _on_fault(_request: Request, error: Exception) -> Response:
    return _error_response(500, "INTERNAL_ERROR", f"internal fault: {type(error).__name__}")


def _error_response(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error_code": code, "message": message}, status_code=status)
