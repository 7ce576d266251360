"""Traces that outlive a process: every event and job carries the W3C trace context it came from.

Spans are exported by OpenTelemetry (OTLP over HTTP) when an endpoint is configured. Without one
nothing is recorded, yet the context still travels from event to event.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import httpx
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.ids import child_traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_CONTEXT = TraceContextTextMapPropagator()
HEADER = "traceparent"
_UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)
_providers: dict[str, "TracerProvider"] = {}
_tracers: dict[str, Tracer] = {}


def configure(service: str, endpoint: str) -> None:
    """Export the spans of a service to the collector at `endpoint`, such as http://host:4318."""
    if not endpoint or service in _providers:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"loopwright-{service}"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _providers[service] = provider
    _tracers[service] = provider.get_tracer("loopwright")


def is_configured(service: str) -> bool:
    return service in _tracers


def shut_down() -> None:
    """Send what is left, for some seconds at most."""
    while _providers:
        service, provider = _providers.popitem()
        del _tracers[service]
        provider.shutdown()


@contextmanager
def span(
    service: str,
    name: str,
    parent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> Generator[str, None, None]:
    """A piece of work; gives the `traceparent` that what follows from it should carry.

    `parent` is the traceparent of what led here; the work around this one unless given. An
    exception is recorded and passes on.
    """
    parent = parent or _current.get()
    tracer = _tracers.get(service)
    if tracer is None:
        with _within(child_traceparent(parent)) as inside:
            yield inside
        return
    came_from = _CONTEXT.extract({HEADER: parent} if parent else {})
    with (
        tracer.start_as_current_span(name, came_from, kind, attributes) as started,
        _within(_traceparent(started)) as inside,
    ):
        yield inside


async def inject(request: httpx.Request) -> None:
    """A hook for HTTP clients: the called service goes on with the trace."""
    if current := _current.get():
        request.headers[HEADER] = current


class TraceRequests:
    """A span for each request to a service, within the trace that its caller names."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        given = next((v for n, v in scope["headers"] if n == HEADER.encode()), b"")
        asked = {"http.request.method": scope["method"], "url.path": scope["path"]}
        name = f"{scope['method']} {scope['path']}"
        with span(self._service, name, given.decode("latin-1"), SpanKind.SERVER, asked):
            await self._app(scope, receive, send)


@contextmanager
def _within(traceparent: str) -> Generator[str, None, None]:
    before = _current.set(traceparent)
    try:
        yield traceparent
    finally:
        _current.reset(before)


def _traceparent(started: trace.Span) -> str:
    carrier: dict[str, str] = {}
    _CONTEXT.inject(carrier, trace.set_span_in_context(started))
    return carrier[HEADER]
