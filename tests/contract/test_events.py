"""The published language stays readable: schemas, golden records, and what may change."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from loopwright_common import clock
from loopwright_common.cloudevents import codec, event_schemas
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.cloudevents.event_summaries import summarize
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.errors import UndecodableError
from loopwright_common.events import EVENTS, TOPICS, Event, EventData

GOLDEN = Path(__file__).parent / "events"
SCHEMAS = Path(__file__).parents[2] / "docs" / "events"
EVERY_EVENT = pytest.mark.parametrize("event", list(EVENTS.values()), ids=lambda event: event.topic)


def golden(topic: str) -> OutgoingRecord:
    headers = {"content-type": "application/cloudevents+json"}
    return OutgoingRecord(topic, "key", headers, (GOLDEN / f"{topic}.v1.json").read_bytes())


@EVERY_EVENT
def test_a_golden_record_reads_and_writes_to_the_same_data(event: type[EventData]) -> None:
    decoded = codec.decode(golden(event.topic))

    assert isinstance(decoded.data, event)
    written = codec.to_structured(codec.encode(decoded))
    stored = json.loads(golden(event.topic).value)
    assert written == {**stored, "partitionkey": "key"}


@EVERY_EVENT
def test_a_golden_record_keeps_to_the_published_schema(event: type[EventData]) -> None:
    schema = json.loads((SCHEMAS / f"{event.topic}.v1.schema.json").read_text())
    data = json.loads(golden(event.topic).value)["data"]

    jsonschema.validate(data, schema)
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate({**data, "surprise": 1}, schema)


@EVERY_EVENT
def test_today_is_compatible_with_the_published_schema(event: type[EventData]) -> None:
    schema = json.loads((SCHEMAS / f"{event.topic}.v1.schema.json").read_text())

    assert list(event_schemas.incompatibilities(schema, event_schemas.schema_of(event))) == []


@EVERY_EVENT
def test_an_unknown_field_is_refused_when_produced_and_ignored_when_read(
    event: type[EventData],
) -> None:
    data = json.loads(golden(event.topic).value)["data"]

    assert event.from_bytes(json.dumps({**data, "later": 1}).encode()).topic == event.topic
    with pytest.raises(ValidationError, match="later"):
        event.model_validate({**data, "later": 1})


def test_a_golden_arrow_batch_reads_and_writes_to_the_same_bytes() -> None:
    stored = (GOLDEN / "inference-logged.v1.arrow").read_bytes()

    batch = InferenceLogged.from_bytes(stored)

    assert (batch.model, batch.sequence, batch.table.num_rows) == ("bank-marketing", 4, 2)
    assert InferenceLogged.from_bytes(batch.to_bytes()).table.equals(batch.table)


def test_an_arrow_batch_without_its_envelope_is_undecodable() -> None:
    batch = InferenceLogged.from_bytes((GOLDEN / "inference-logged.v1.arrow").read_bytes())
    stripped = InferenceLogged(
        model_id="m",
        model="m",
        replica="r",
        epoch="e",
        sequence=0,
        dropped=0,
        last=False,
        table=batch.table.drop_columns(["prediction_id"]),
    )
    with pytest.raises(UndecodableError, match="prediction_id"):
        InferenceLogged.from_bytes(stripped.to_bytes())


BEFORE = {
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
    "required": ["a"],
}


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, "b was removed"),
        (
            {"properties": {**BEFORE["properties"], "a": {"type": "number"}}, "required": ["a"]},  # type: ignore[dict-item]
            "a changed",
        ),
        ({**BEFORE, "required": ["a", "b"]}, "b became required"),
        ({**BEFORE, "required": []}, "a is no longer always there"),
    ],
)
def test_what_breaks_a_reader_or_writer_is_found(
    after: event_schemas.Schema, complaint: str
) -> None:
    (found,) = event_schemas.incompatibilities(BEFORE, after)
    assert complaint in found


def test_adding_an_optional_field_is_compatible() -> None:
    properties = {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "string"}}
    after = {"properties": properties, "required": ["a"]}

    assert list(event_schemas.incompatibilities(BEFORE, after)) == []


def test_binary_mode_carries_every_attribute() -> None:
    decoded = codec.decode(golden("code-changed"))
    event: Event[EventData] = Event(
        id="1",
        source="s",
        subject="x",
        time=clock.now(),
        key="key",
        chain_id="c",
        causes=("a", "b"),
        traceparent="00-1-2-01",
        data=decoded.data,  # type: ignore[arg-type]
    )

    assert codec.decode(codec.encode(event)) == event


def test_every_event_that_is_archived_has_a_summary() -> None:
    """`loopwright events list` and `why` would show a blank line for one without."""
    archived = {name for name, topic in TOPICS.items() if topic.archived}
    summaries = {topic: summarize(json.loads(golden(topic).value)) for topic in archived}
    assert [topic for topic, text in summaries.items() if not text] == []


def test_two_events_cannot_have_one_topic() -> None:
    with pytest.raises(TypeError, match="code-changed"):

        class Again(EventData):
            topic = "code-changed"
