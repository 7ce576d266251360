"""HTTP as every service speaks it: problem+json, health, metrics, and a guard before all of it."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from loopwright_common.errors import LoopwrightError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.docs_page import docs_page
from loopwright_common.web.guard import GuardRequests, RequestGuard
from loopwright_common.web.http_metrics import CountRequests
from loopwright_common.web.problems import Problem, problem, problem_of

Check = Callable[[], Awaitable[str | None]]
"""None when well, else the reason; a LoopwrightError is a reason too."""
Readiness = Mapping[str, Check]


def create_app(
    service: str, metrics: Metrics, readiness: Readiness, guard: RequestGuard | None = None
) -> FastAPI:
    """The service's app with health, metrics and error mapping; see `add_routes`.

    What is asked of any of them passes `guard`, one with the defaults unless given.
    """
    # FastAPI's own pages load scripts from elsewhere, which would run with this service's rights.
    app = _ServiceApp(
        title=f"Loopwright {service}",
        version=version("loopwright-common"),
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(LoopwrightError, _on_loopwright_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
    app.add_middleware(GuardRequests, routes=app.router.routes, guard=guard or RequestGuard())
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


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Have the app answer the router's routes, as they are.

    `include_router` would build each of them, with all its types, a second time.
    """
    app.router.routes.extend(router.routes)


class _ServiceApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The schema of all routes, and of the problems that they answer."""
        schema = super().openapi()
        schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = (
            Problem.model_json_schema()
        )
        return schema


async def _reason(check: Check) -> str | None:
    try:
        return await check()
    except LoopwrightError as error:
        return str(error)


async def _on_loopwright_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LoopwrightError):
        raise error
    return problem_of(request.url.path, error)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors: list[dict[str, Any]] = [
        {"field": ".".join(str(part) for part in each["loc"]), "message": each["msg"]}
        for each in error.errors()
    ]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    return problem(422, "Invalid", detail, errors)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, str(error.detail), f"{request.method} {request.url.path}")


async def _on_fault(request: Request, error: Exception) -> Response:
    """A fault of ours: the server logs its traceback, the caller learns that it is not his."""
    return problem(500, "Fault", f"{request.method} {request.url.path}: {type(error).__name__}")
