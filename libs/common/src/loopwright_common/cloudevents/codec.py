"""Events to and from records: CloudEvents 1.0, binary mode on the bus, structured JSON accepted.

Kafka protocol binding: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loopwright_common.clock import from_text, to_text
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.errors import UndecodableError
from loopwright_common.events import EVENTS, Event, Payload, Received, topic_of, type_of

_STRUCTURED = "application/cloudevents+json"
_REQUIRED = ("id", "source", "type", "specversion")


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """Bytes on their way to a topic."""

    topic: str
    key: str
    headers: Mapping[str, str]
    value: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Bytes at their place in a topic; `offset` grows within a partition, gaps are allowed."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: Mapping[str, str]
    value: bytes
    time: datetime


def encode(event: Event[Payload]) -> OutgoingRecord:
    """The event as a record in CloudEvents binary mode."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": event.source,
        "ce_type": type_of(event.data.topic),
        "ce_subject": event.subject,
        "ce_time": to_text(event.time),
        "ce_partitionkey": event.key,
        "ce_chainid": event.chain_id,
        "ce_traceparent": event.traceparent,
        "content-type": event.data.content_type,
    }
    if event.causes:
        headers["ce_causes"] = " ".join(event.causes)
    return OutgoingRecord(event.data.topic, event.key, headers, event.data.to_bytes())


def decode(record: Record | OutgoingRecord) -> Event[Payload]:
    """The event in a record; `UndecodableError` says what is wrong with it."""
    attributes, body = _attributes(record)
    if missing := [name for name in _REQUIRED if not attributes.get(name)]:
        raise UndecodableError(f"not a CloudEvent: no attribute {', '.join(missing)}")
    payload = _payload_of(attributes["type"])
    if payload is None:
        raise UndecodableError(f"unknown event type {attributes['type']!r}")
    if payload.topic != record.topic:
        raise UndecodableError(f"{attributes['type']} does not belong on topic {record.topic}")
    try:
        time = from_text(attributes["time"])
    except (KeyError, ValueError):
        raise UndecodableError("attribute time: give an RFC 3339 timestamp") from None
    return Event(
        id=attributes["id"],
        source=attributes["source"],
        subject=attributes.get("subject", ""),
        time=time,
        key=record.key,
        chain_id=attributes.get("chainid", attributes["id"]),
        causes=tuple(attributes.get("causes", "").split()),
        traceparent=attributes.get("traceparent", ""),
        data=payload.from_bytes(body),
        received=record,
    )


def _payload_of(event_type: str) -> type[Payload] | None:
    topic = topic_of(event_type)
    if type_of(topic) != event_type:
        return None
    return InferenceLogged if topic == InferenceLogged.topic else EVENTS.get(topic)


def to_structured(record: Received) -> dict[str, Any]:
    """The record as a structured-mode CloudEvent, for HTTP and SSE; other data than JSON as base64.

    UndecodableError for a structured record that is no JSON object.
    """
    attributes, body = _attributes(record)
    content_type = attributes.pop("datacontenttype", "application/json")
    event: dict[str, Any] = {**attributes, "datacontenttype": content_type}
    if content_type == "application/json":
        event["data"] = json.loads(body)
    else:
        event["data_base64"] = base64.b64encode(body).decode()
    return event


def _attributes(record: Received) -> tuple[dict[str, str], bytes]:
    content_type = record.headers.get("content-type", "application/json")
    if not content_type.startswith(_STRUCTURED):
        attributes = {k[3:]: v for k, v in record.headers.items() if k.startswith("ce_")}
        return {**attributes, "datacontenttype": content_type}, record.value
    try:
        event = json.loads(record.value)
        body = (
            base64.b64decode(event.pop("data_base64"))
            if "data_base64" in event
            else json.dumps(event.pop("data", None)).encode()
        )
    except (ValueError, AttributeError) as error:
        raise UndecodableError(f"not a structured CloudEvent: {error}") from None
    return {str(k): str(v) for k, v in event.items()}, body
