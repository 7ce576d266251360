"""HTTP as every service speaks it: problem+json, health, metrics, and a door only for this host."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.errors import (
    ConflictError,
    CorruptError,
    InvalidError,
    LoopwrightError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnavailableError,
)
from loopwright_common.observability.metrics import Metrics
from loopwright_common.settings import LOOPBACK
from loopwright_common.web.docs_page import docs_page
from loopwright_common.web.http_metrics import CountRequests

STATUS: Mapping[type[LoopwrightError], int] = {
    InvalidError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    RefusedError: 403,
    TooLargeError: 413,
    CorruptError: 500,
    UnavailableError: 503,
}
_NOT_JSON = "send JSON with the header `content-type: application/json`, not {}"
_LOOPBACK_ONLY = (
    "no authentication is configured, so only loopback and LOOPWRIGHT_ALLOWED_HOSTS are served"
)
Check = Callable[[], Awaitable[str | None]]
"""None when well, else the reason; a LoopwrightError is a reason too."""
Readiness = Mapping[str, Check]


class Problem(BaseModel):
    """RFC 9457 problem details; `errors` names the fields of a wrong request."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}}
    for status in (400, 403, 404, 409, 413, 422, 503)
}


def create_app(
    service: str, metrics: Metrics, readiness: Readiness, hosts: Collection[str] = LOOPBACK
) -> FastAPI:
    """The service's app with health, metrics and error mapping; add routers to it."""
    # FastAPI's own pages load scripts from elsewhere, which would run with this service's rights.
    app = FastAPI(
        title=f"Loopwright {service}",
        version=version("loopwright-common"),
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(LoopwrightError, _on_loopwright_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
    app.add_middleware(HostGuard, hosts=hosts)
    app.add_middleware(CountRequests, registry=metrics.registry)

    @app.get("/livez", tags=["health"])
    async def livez() -> dict[str, str]:
        """The process runs; asks neither broker nor database."""
        return {"status": "live"}

    @app.get("/readyz", tags=["health"])
    async def readyz() -> JSONResponse:
        """Whether the service can do its work, with the reason where not."""
        checks = {name: await _reason(check) for name, check in readiness.items()}
        bad = any(checks.values())
        body = {
            "status": "unready" if bad else "ready",
            "checks": {name: reason or "ok" for name, reason in checks.items()},
        }
        return JSONResponse(body, status_code=503 if bad else 200)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """What the API offers, for people."""
        return docs_page(app.openapi())

    @app.get("/version", tags=["health"], response_class=PlainTextResponse)
    async def show_version() -> str:
        return app.version

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


async def _reason(check: Check) -> str | None:
    try:
        return await check()
    except LoopwrightError as error:
        return str(error)


def problem(status: int, title: str, detail: str, errors: Sequence[Any] | None = None) -> Response:
    body = Problem(
        title=title, status=status, detail=detail, errors=list(errors) if errors else None
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status_code=status,
        media_type="application/problem+json",
    )


def status_of(error: LoopwrightError) -> int:
    """The HTTP status of an error of ours; 500 for one that has none."""
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)


async def _on_loopwright_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, LoopwrightError):
        raise error
    field = error.field if isinstance(error, InvalidError) else None
    errors = [{"field": field, "message": str(error)}] if field else None
    title = type(error).__name__.removesuffix("Error")
    return problem(status_of(error), title, str(error), errors)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    kind = request.headers.get("content-type", "nothing")
    errors = [
        {
            "field": ".".join(str(part) for part in found["loc"]),
            "message": _NOT_JSON.format(kind) if _unread(found) else found["msg"],
        }
        for found in error.errors()
    ]
    detail = "; ".join(f"{found['field']}: {found['message']}" for found in errors)
    return problem(422, "Invalid", detail, errors)


def _unread(found: Mapping[str, Any]) -> bool:
    """Whether a body was not read as JSON: a page of another site can send no such header."""
    return found["loc"] == ("body",) and isinstance(found.get("input"), bytes)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, str(error.detail), f"{request.method} {request.url.path}")


async def _on_fault(request: Request, error: Exception) -> Response:
    """A fault of ours: the server logs its traceback, the caller learns that it is not his."""
    return problem(500, "Fault", f"{request.method} {request.url.path}: {type(error).__name__}")


class HostGuard:
    """Refuse requests meant for, or sent from, another host: any web page can post to loopback."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (reason := foreign(scope, self._hosts)):
            await problem(403, "Refused", reason)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def foreign(scope: Scope, hosts: Collection[str]) -> str | None:
    """Why a request is refused as meant for, or sent from, none of `hosts`; None when it is not."""
    for name, value in scope["headers"]:
        if name == b"host" and _hostname(f"//{value.decode('latin-1')}") not in hosts:
            return f"Host is not this machine; {_LOOPBACK_ONLY}"
        if name == b"origin" and _hostname(value.decode("latin-1")) not in hosts:
            return f"Origin is another site; {_LOOPBACK_ONLY}"
    return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
