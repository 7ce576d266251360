"""Facts the scorer tells on its own account: each starts a chain of events."""

from loopwright_common import clock
from loopwright_common.cloudevents import OutgoingRecord, codec
from loopwright_common.events import Event, Payload
from loopwright_common.ids import new_id, new_traceparent


def new_event(
    data: Payload, *, key: str, subject: str, event_id: str | None = None
) -> OutgoingRecord:
    """The record of a new event; its id is fixed here, so sending it again repeats nothing."""
    event_id = event_id or new_id()
    return codec.encode(
        Event(
            id=event_id,
            source="loopwright/scorer",
            subject=subject,
            time=clock.now(),
            key=key,
            chain_id=event_id,
            causes=(),
            traceparent=new_traceparent(),
            data=data,
        )
    )
