"""The artifact proxy: files go straight between the client and the store, never held whole."""

import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from loopwright_common.errors import TooLargeError
from loopwright_common.failpoints import failpoint
from loopwright_registry.artifacts.domain import listed, safe_path, uploadable_path
from loopwright_registry.artifacts.repository import Artifacts
from loopwright_registry.mlflow.json import Answer, Asked, Call, Endpoint, Endpoints, bearer_of
from loopwright_registry.runs.artifact_owners import held_runs_within, runs_at
from loopwright_registry.runs.run_fencing import require_attempt

_TEXT = (".yaml", ".yml", ".json", ".txt", ".md", ".csv", ".log")


class ListArtifacts(Asked):
    path: str | None = None


async def list_artifacts(asked: ListArtifacts, call: Call) -> Answer:
    """Names relative to the directory asked for; a missing directory is an empty one."""
    return {"files": await entries_under(asked.path or "", call)}


async def entries_under(directory: str, call: Call, prefix: str = "") -> list[Answer]:
    root = safe_path(directory.rstrip("/")) if directory else ""
    async with call.database.read() as connection:
        files = await Artifacts(connection).under(root)
    return [
        {"path": f"{prefix}{entry.name}", "is_dir": entry.size is None, "file_size": entry.size}
        for entry in listed(files)
    ]


async def upload(request: Request, call: Call) -> Response:
    path = uploadable_path(request.path_params["path"])
    blob = await call.store.put(_limited(request, path, call.largest_upload))
    failpoint("registry.uploaded")
    async with call.database.unit_of_work() as uow:
        runs = await runs_at(uow.connection, path)
        await require_attempt(uow, bearer_of(request), *runs)
        await uow.lock(_tree(path))
        await Artifacts(uow.connection).keep(path, blob)
    return Response(b"{}", media_type="application/json")


async def _limited(request: Request, path: str, most: int) -> AsyncIterator[bytes]:
    """The body; TooLargeError as soon as it is known to be larger than the limit."""
    told = request.headers.get("content-length", "")
    size = int(told) if told.isdigit() else 0
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if max(seen, size) > most:
            raise TooLargeError(
                f"{path}: {max(seen, size):,} bytes, at most {most:,} are taken; split the file, "
                "or raise LOOPWRIGHT_REGISTRY_LARGEST_UPLOAD"
            )
        yield chunk


async def download(request: Request, call: Call) -> Response:
    path = safe_path(request.path_params["path"])
    async with call.database.read() as connection:
        blob = await Artifacts(connection).get(path)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(PurePosixPath(path).name)}",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": str(blob.size),
    }
    body = call.store.stream(blob.digest)
    first = await anext(body, b"")  # While an error can still be answered.
    return StreamingResponse(_joined(first, body), media_type=_media_type(path), headers=headers)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def delete(request: Request, call: Call) -> Response:
    path = uploadable_path(request.path_params["path"])
    async with call.database.unit_of_work() as uow:
        runs = await runs_at(uow.connection, path)
        runs += await held_runs_within(uow.connection, path)
        await require_attempt(uow, bearer_of(request), *runs)
        await uow.lock(_tree(path))
        await Artifacts(uow.connection).delete(path)
    return Response(b"{}", media_type="application/json")


def routes(call: Call) -> list[Route]:
    """Routes that stream."""

    def bound(
        handle: Callable[[Request, Call], Awaitable[Response]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await handle(request, call)

        return answer

    at = "/2.0/mlflow-artifacts/artifacts/{path:path}"
    return [
        Route(at, bound(upload), methods=["PUT"]),
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
