"""The golden records as they lie on the bus, and what goes wrong with records."""

import json
from pathlib import Path

from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.events import EVENTS, INFERENCE_LOGGED, Event, type_of
from loopwright_common.ids import new_id

GOLDEN = Path(__file__).parent / "events"
_LIFE = (
    "model-registered",
    "deployment-validated",
    "routes-changed",
    "deployment-promoted",
    INFERENCE_LOGGED,
)


def golden(topic: str) -> OutgoingRecord:
    """A record that every reader of the topic must understand."""
    if topic == INFERENCE_LOGGED:
        return _inference()
    body = (GOLDEN / f"{topic}.v1.json").read_bytes()
    headers = {"content-type": "application/cloudevents+json"}
    return OutgoingRecord(topic, json.loads(body)["partitionkey"], headers, body)


def every_golden() -> list[OutgoingRecord]:
    """One of every topic, in the order of a version's life where that matters."""
    others = [event.topic for event in EVENTS.values() if event.topic not in _LIFE]
    return [golden(topic) for topic in (*_LIFE, *others)]


def undecodable(topic: str) -> OutgoingRecord:
    return OutgoingRecord(topic, "key", {"content-type": "image/png"}, b"\x89PNG\x00\xff")


def schema_breaking(topic: str) -> OutgoingRecord:
    return OutgoingRecord(topic, "key", _headers(type_of(topic)), b"{}")


def of_unknown_type(topic: str) -> OutgoingRecord:
    return OutgoingRecord(topic, "key", _headers(f"dev.loopwright.{topic}.v99"), b"{}")


def _headers(type: str) -> dict[str, str]:
    return {
        "ce_specversion": "1.0",
        "ce_id": new_id(),
        "ce_source": "somebody/else",
        "ce_type": type,
        "ce_time": "2026-03-01T09:30:15Z",
        "content-type": "application/json",
    }


def _inference() -> OutgoingRecord:
    batch = InferenceLogged.from_bytes((GOLDEN / "inference-logged.v1.arrow").read_bytes())
    told = codec.decode(golden("ground-truth-logged"))
    event = Event(
        id=new_id(),
        source=told.source,
        subject=told.subject,
        time=told.time,
        key=batch.model_id,
        chain_id=told.chain_id,
        causes=(),
        traceparent=told.traceparent,
        data=batch,
    )
    return codec.encode(event)
