"""Events as CloudEvents: records and their codec, the columnar event, a sentence for each event."""

from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.codec import OutgoingRecord, Record
from loopwright_common.cloudevents.event_summaries import summarize
from loopwright_common.cloudevents.inference_logged import (
    ENVELOPE,
    INPUT,
    OUTPUT,
    SCORE,
    InferenceLogged,
)

__all__ = [
    "ENVELOPE",
    "INPUT",
    "OUTPUT",
    "SCORE",
    "InferenceLogged",
    "OutgoingRecord",
    "Record",
    "codec",
    "summarize",
]
