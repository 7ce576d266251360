"""Traces that outlive a process: every event and job carries the W3C trace context it came from.

Spans are exported by OpenTelemetry (OTLP over HTTP) when an endpoint is configured. Without one
nothing is recorded, yet the context still travels, so that others' spans join up.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from loopwright_common.ids import child_traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_CONTEXT = TraceContextTextMapPropagator()
_HEADER = "traceparent"
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
    parent: str | None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> Generator[str, None, None]:
    """A piece of work; gives the `traceparent` that what follows from it should carry.

    `parent` is the traceparent of what led here. An exception is recorded and passes on.
    """
    tracer = _tracers.get(service)
    if tracer is None:
        yield child_traceparent(parent)
        return
    came_from = _CONTEXT.extract({_HEADER: parent} if parent else {})
    with tracer.start_as_current_span(name, came_from, kind, attributes) as started:
        yield _traceparent(started)


def _traceparent(started: trace.Span) -> str:
    carrier: dict[str, str] = {}
    _CONTEXT.inject(carrier, trace.set_span_in_context(started))
    return carrier[_HEADER]
