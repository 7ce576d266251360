"""The registry as a stage may use it: MLflow's API, with the token of the stage's own run."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from loopwright_common.errors import RefusedError, UnavailableError
from loopwright_common.web import strict_json
from loopwright_common.web.mlflow_errors import MLFLOW_ERRORS, mlflow_error
from loopwright_common.web.request_limits import LARGEST_BODY, BodyLimit

_API, _AJAX_API = "/api/2.0/", "/ajax-api/2.0/"
_ARTIFACTS = "mlflow-artifacts/artifacts/"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_READING = ("GET", "HEAD")
# What reads and is sent as POST, and what a run may write; a version only of the run itself.
_WRITING = (
    "mlflow/runs/", "mlflow/logged-models", "mlflow/experiments/create",
    "mlflow/experiments/search", "mlflow/registered-models/create",
    "mlflow/registered-models/get-latest-versions",
)  # fmt: skip
_NEW_VERSION, _UPDATE = "mlflow/model-versions/create", "mlflow/runs/update"
_READ_HERE = BodyLimit(LARGEST_BODY)
"""What is looked into, and so read whole."""
_NEVER = ("mlflow/runs/delete", "mlflow/runs/restore")
_RUN_NAMES = ("run_id", "runId", "run_uuid", "runUuid")
_END = ("status", "end_time", "endTime")
_ASKED = (
    "accept", "accept-encoding", "content-encoding", "content-length", "content-type", "range",
    "traceparent", "user-agent",
)  # fmt: skip
_ANSWERED = (
    "content-disposition", "content-encoding", "content-length", "content-range", "content-type",
    "retry-after",
)  # fmt: skip


def create_registry_proxy(
    client: httpx.AsyncClient, token: str | None, run_id: str, password: str
) -> Starlette:
    """What is allowed is passed on with the run's token and streamed, the rest answered with 403.

    Who asks has to show `password`, since without a network namespace others reach the proxy too.
    A version has to be of the run, so that the registry holds it until the run has succeeded.
    """

    async def forward(request: Request) -> Response:
        if not _shows(password, request):
            why = "MLFLOW_TRACKING_TOKEN is not this stage's own"
            return mlflow_error(401, "UNAUTHENTICATED", why)
        headers = {"accept-encoding": "identity", **_only(_ASKED, request.headers)}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = await _body(run_id, request)
        if isinstance(body, bytes):
            headers.pop("content-length", None)
        path = request.scope.get("raw_path", request.url.path.encode()).decode("ascii")
        asked = client.build_request(
            request.method,
            httpx.URL(path, query=request.scope["query_string"]),
            headers=headers,
            content=body,
        )
        try:
            answered = await client.send(asked, stream=True)
        except httpx.TransportError as error:
            raise UnavailableError(f"registry: {str(error) or type(error).__name__}") from error
        return StreamingResponse(
            answered.aiter_raw(),
            answered.status_code,
            _only(_ANSWERED, answered.headers),
            background=BackgroundTask(answered.aclose),
        )

    routes = [Route("/{path:path}", forward, methods=_METHODS)]
    return Starlette(routes=routes, exception_handlers=MLFLOW_ERRORS)


async def _body(run_id: str, request: Request) -> AsyncIterator[bytes] | bytes | None:
    """What is passed on of a request; RefusedError where it is not allowed."""
    operation = _below_prefix(request.scope["path"])
    if operation == _NEW_VERSION:
        return _version_of(run_id, await _fields(request))
    if not _is_allowed(request.method, operation):
        raise RefusedError(
            "a stage may read from the registry and write runs, logged models, artifacts and "
            "versions of its own run"
        )
    if operation == _UPDATE:
        return _update_of(run_id, await _fields(request))
    return request.stream() if _has_body(request) else None


def _shows(password: str, request: Request) -> bool:
    shown = request.headers.get("authorization", "")
    return secrets.compare_digest(shown.encode(), f"Bearer {password}".encode())


def _below_prefix(path: str) -> str:
    """The part of a path after MLflow's prefix; empty for any other path."""
    prefix = next((prefix for prefix in (_API, _AJAX_API) if path.startswith(prefix)), None)
    return path.removeprefix(prefix) if prefix and ".." not in path.split("/") else ""


async def _fields(request: Request) -> Any:
    body = bytearray()
    async for part in request.stream():
        body += part
        _READ_HERE.check(len(body))
    return strict_json.loads(bytes(body)) if body else None


def _version_of(run_id: str, asked: Any) -> bytes:
    """The body of a new version, as it was understood here; RefusedError unless of the run."""
    if not isinstance(asked, dict) or asked.get("run_id") != run_id:
        raise RefusedError(f"a stage registers versions of its own run only, {run_id}")
    return json.dumps(asked).encode()


def _update_of(run_id: str, asked: Any) -> bytes:
    """The body of a change of a run, without an end of the stage's own.

    MLflow's client ends the run that it goes on with where its code ends, but the run goes on: its
    end is its attempt's to tell.
    """
    if isinstance(asked, dict) and run_id in (asked.get(name) for name in _RUN_NAMES):
        asked = {name: value for name, value in asked.items() if name not in _END}
    return json.dumps(asked).encode()


def _is_allowed(method: str, operation: str) -> bool:
    if method in _READING:
        return operation.startswith(("mlflow/", _ARTIFACTS, "mlflow-artifacts/"))
    if operation.startswith(_ARTIFACTS):
        return method == "PUT"
    return operation.startswith(_WRITING) and operation.rstrip("/") not in _NEVER


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _only(names: tuple[str, ...], headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}
