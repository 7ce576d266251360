"""Traces go on across processes, and are exported where a collector is configured."""

from collections.abc import Generator

import pytest

from loopwright_common import tracing
from tests.collector import Collector, collector

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


def test_a_failure_is_told_and_passes_on(collector: Collector) -> None:
    tracing.configure("probe", collector.endpoint)

    with pytest.raises(ValueError, match="broken"), tracing.span("probe", "work", None):
        raise ValueError("broken")
    tracing.shut_down()

    [(_, span)] = collector.spans
    assert span.status.message == "ValueError: broken"
