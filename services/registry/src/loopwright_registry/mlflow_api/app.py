"""MLflow's REST API as one app, with MLflow's error shape; mounted at /api and /ajax-api."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopwright_common.web.mlflow_errors import MLFLOW_ERRORS
from loopwright_common.web.request_limits import takes_body
from loopwright_registry.mlflow.endpoint import (
    Endpoint,
    Endpoints,
    MlflowContext,
    bearer_of,
    cause_of,
)
from loopwright_registry.mlflow.json import encode_response, request_fields

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
    all_routes = [*routes, *streaming, info]
    return Starlette(routes=all_routes, exception_handlers=MLFLOW_ERRORS)


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
