"""The artifact proxy: files go straight between the client and the store, never held whole."""

import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from loopwright_common.failpoints import failpoint
from loopwright_common.web.request_limits import BodyLimit, takes_body
from loopwright_registry.artifacts.domain import directory_entries, safe_path, uploadable_path
from loopwright_registry.artifacts.repository import Artifacts
from loopwright_registry.mlflow.endpoint import Endpoint, Endpoints, MlflowContext, bearer_of
from loopwright_registry.mlflow.json import MlflowRequest, MlflowResponse
from loopwright_registry.runs.artifact_owners import fenced_runs_within, runs_owning
from loopwright_registry.runs.run_fencing import require_attempt

_TEXT = (".yaml", ".yml", ".json", ".txt", ".md", ".csv", ".log")


class ListArtifacts(MlflowRequest):
    path: str | None = None


async def list_artifacts(request: ListArtifacts, context: MlflowContext) -> MlflowResponse:
    """Entries with names relative to the directory that is asked for.

    A missing directory is an empty one.
    """
    return {"files": await entries_under(request.path or "", context)}


async def entries_under(
    directory: str, context: MlflowContext, prefix: str = ""
) -> list[MlflowResponse]:
    root = safe_path(directory.rstrip("/")) if directory else ""
    async with context.database.read() as connection:
        files = await Artifacts(connection).files_under(root)
    return [
        {"path": f"{prefix}{entry.name}", "is_dir": entry.size is None, "file_size": entry.size}
        for entry in directory_entries(files)
    ]


async def upload(request: Request, context: MlflowContext) -> Response:
    path = uploadable_path(request.path_params["path"])
    blob = await context.store.put(request.stream())
    failpoint("registry.uploaded")
    async with context.database.unit_of_work() as uow:
        runs = await runs_owning(uow.connection, path)
        await require_attempt(uow, bearer_of(request), *runs)
        await uow.lock(_tree(path))
        await Artifacts(uow.connection).save(path, blob)
    return Response(b"{}", media_type="application/json")


async def download(request: Request, context: MlflowContext) -> Response:
    path = safe_path(request.path_params["path"])
    async with context.database.read() as connection:
        blob = await Artifacts(connection).get(path)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(PurePosixPath(path).name)}",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": str(blob.size),
    }
    body = context.store.stream(blob.digest)
    first = await anext(body, b"")  # While an error can still be answered.
    return StreamingResponse(_joined(first, body), media_type=_media_type(path), headers=headers)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def delete(request: Request, context: MlflowContext) -> Response:
    path = uploadable_path(request.path_params["path"])
    async with context.database.unit_of_work() as uow:
        runs = await runs_owning(uow.connection, path)
        runs += await fenced_runs_within(uow.connection, path)
        await require_attempt(uow, bearer_of(request), *runs)
        await uow.lock(_tree(path))
        await Artifacts(uow.connection).delete(path)
    return Response(b"{}", media_type="application/json")


def streaming_routes(context: MlflowContext) -> list[Route]:
    """The routes whose bodies are files, which are streamed and never held whole."""

    def bound(
        handle: Callable[[Request, MlflowContext], Awaitable[Response]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await handle(request, context)

        return answer

    at = "/2.0/mlflow-artifacts/artifacts/{path:path}"
    uploads = BodyLimit(
        context.largest_upload,
        streamed=True,
        remedy="split the file, or raise LOOPWRIGHT_REGISTRY_LARGEST_UPLOAD",
    )
    return [
        Route(at, takes_body(uploads)(bound(upload)), methods=["PUT"]),
        Route(at, bound(download), methods=["GET"]),
        Route(at, bound(delete), methods=["DELETE"]),
    ]


def _tree(path: str) -> str:
    """The lock under which it is decided what is a file and what a directory."""
    return f"artifacts/{path.split('/', maxsplit=1)[0]}"


def _media_type(path: str) -> str:
    name = PurePosixPath(path)
    if name.name in ("MLmodel", "MLproject") or name.suffix in _TEXT:
        return "text/plain"
    return mimetypes.guess_type(name.name)[0] or "application/octet-stream"


ENDPOINTS: Endpoints = (
    Endpoint("GET", "/mlflow-artifacts/artifacts", ListArtifacts, list_artifacts),
)
