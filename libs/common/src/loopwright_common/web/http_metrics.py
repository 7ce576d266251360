"""Counts of HTTP requests, by route and not by path, so that their number stays bounded."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CountRequests:
    """`http_requests_total` and `http_request_duration_seconds` of an app."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "http_requests", "Requests answered.", ["method", "handler", "status"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "http_request_duration_seconds", "Seconds to the end of the answer.",
            ["method", "handler"], registry=registry,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = "499", time.perf_counter()

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observe)
        finally:
            handler = _handler_of(scope)
            self._requests.labels(scope["method"], handler, status).inc()
            seconds = time.perf_counter() - started
            self._seconds.labels(scope["method"], handler).observe(seconds)


def _handler_of(scope: Scope) -> str:
    """The route's path with its parameters' names, or where an app without names is mounted."""
    if route := scope.get("route"):
        return str(route.path)
    return str(scope.get("root_path") or "unknown")
