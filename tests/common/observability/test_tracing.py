"""Traces go on across processes, and are exported where a collector is configured."""

from collections.abc import Generator

import httpx
import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.observability import tracing
from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.app import create_app
from tests.collector import Collector, collector
from tests.common.probe import service

__all__ = ["collector"]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def unconfigured() -> Generator[None, None, None]:
    yield
    tracing.shut_down()


def test_without_a_collector_the_trace_goes_on_all_the_same() -> None:
    with tracing.span("probe", "work", PARENT) as inside:
        assert inside.split("-")[1] == PARENT.split("-")[1]
        assert inside.split("-")[2] != PARENT.split("-")[2]


def test_spans_arrive_under_what_led_to_them(collector: Collector) -> None:
    tracing.configure("probe", collector.endpoint)

    with tracing.span("probe", "outer", PARENT, attributes={"event": "e1"}) as outer:
        pass
    with tracing.span("probe", "later", outer):
        pass
    tracing.shut_down()

    spans = {span.name: span for service, span in collector.spans if service == "loopwright-probe"}
    assert spans["outer"].trace_id.hex() == PARENT.split("-")[1]
    assert spans["outer"].parent_span_id.hex() == PARENT.split("-")[2]
    assert spans["outer"].attributes[0].value.string_value == "e1"
    assert spans["later"].parent_span_id == spans["outer"].span_id


async def test_a_trace_goes_on_through_outbox_bus_and_handler(
    collector: Collector, database: Database, bus: EventBus
) -> None:
    tracing.configure("probe", collector.endpoint)
    with tracing.span("probe", "commit", PARENT):
        await service.tell(database, "a", 1)
    consumer = service.consumer(database, bus)
    relay = OutboxRelay(database, bus, Metrics())
    await relay.publish_some()
    subscription = await bus.subscribe("probe.worker", consumer.topics, consumer._load_positions)
    while not await service.effects(database):
        await consumer.step(subscription, 0.1)
    await subscription.close()
    tracing.shut_down()

    names = {span.span_id: span.name for _, span in collector.spans}
    led_by = {span.name: names.get(span.parent_span_id) for _, span in collector.spans}
    assert led_by == {
        "publish retrain-requested": "process code-changed",
        "process code-changed": "publish code-changed",
        "publish code-changed": "commit",
        "commit": None,
    }


async def test_a_request_goes_on_with_its_callers_trace(collector: Collector) -> None:
    tracing.configure("probe", collector.endpoint)
    app = tracing.TraceRequests(create_app("probe", Metrics(), {}), "probe")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1",
        event_hooks={"request": [tracing.inject]},
    ) as client:
        with tracing.span("probe", "caller", PARENT):
            await client.get("/version")
            await client.get("/livez")
    tracing.shut_down()

    spans = {span.name: span for _, span in collector.spans}
    assert set(spans) == {"caller", "GET /version"}
    assert spans["GET /version"].parent_span_id == spans["caller"].span_id


def test_a_failure_is_told_and_passes_on(collector: Collector) -> None:
    tracing.configure("probe", collector.endpoint)

    with pytest.raises(ValueError, match="broken"), tracing.span("probe", "work", None):
        raise ValueError("broken")
    tracing.shut_down()

    [(_, span)] = collector.spans
    assert span.status.message == "ValueError: broken"
