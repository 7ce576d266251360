"""The registry as a stage may use it: MLflow's API, with the token of the stage's own run."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

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
_NEW_VERSION = "mlflow/model-versions/create"
_MAX_NEW_VERSION = 1 << 20
_NEVER = ("mlflow/runs/delete", "mlflow/runs/restore")
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
            return _problem(401, "UNAUTHENTICATED", "MLFLOW_TRACKING_TOKEN is not this stage's own")
        path = request.scope.get("raw_path", request.url.path.encode()).decode("ascii")
        headers = {"accept-encoding": "identity", **_only(_ASKED, request.headers)}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body: AsyncIterator[bytes] | bytes | None = request.stream() if _has_body(request) else None
        if _below_prefix(request.url.path) == _NEW_VERSION:
            body = await _version_of(run_id, request)
            if body is None:
                return _refused(f"a stage registers versions of its own run only, {run_id}")
            headers.pop("content-length", None)
        elif not _is_allowed(request.method, request.url.path):
            return _refused(
                "a stage may read from the registry and write runs, logged models, artifacts and "
                "versions of its own run"
            )
        asked = client.build_request(
            request.method,
            httpx.URL(path, query=request.scope["query_string"]),
            headers=headers,
            content=body,
        )
        try:
            answered = await client.send(asked, stream=True)
        except httpx.TransportError as error:
            why = f"registry: {str(error) or type(error).__name__}"
            return _problem(503, "TEMPORARILY_UNAVAILABLE", why)
        return StreamingResponse(
            answered.aiter_raw(),
            answered.status_code,
            _only(_ANSWERED, answered.headers),
            background=BackgroundTask(answered.aclose),
        )

    return Starlette(routes=[Route("/{path:path}", forward, methods=_METHODS)])


def _shows(password: str, request: Request) -> bool:
    shown = request.headers.get("authorization", "")
    return secrets.compare_digest(shown.encode(), f"Bearer {password}".encode())


def _below_prefix(path: str) -> str:
    """The part of a path after MLflow's prefix; empty for any other path."""
    prefix = next((prefix for prefix in (_API, _AJAX_API) if path.startswith(prefix)), None)
    return path.removeprefix(prefix) if prefix and ".." not in path.split("/") else ""


async def _version_of(run_id: str, request: Request) -> bytes | None:
    """The body of a new version of the run; None when it is anything else."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_NEW_VERSION:
            return None
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    if not isinstance(asked, dict) or asked.get("run_id") != run_id:
        return None
    return json.dumps(asked).encode()  # as it was understood here


def _is_allowed(method: str, path: str) -> bool:
    operation = _below_prefix(path)
    if method in _READING:
        return operation.startswith(("mlflow/", _ARTIFACTS, "mlflow-artifacts/"))
    if operation.startswith(_ARTIFACTS):
        return method == "PUT"
    return operation.startswith(_WRITING) and not operation.startswith(_NEVER)


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _only(names: tuple[str, ...], headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _refused(why: str) -> JSONResponse:
    return _problem(403, "PERMISSION_DENIED", why)


def _problem(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status)
