"""`inference-logged`: scored rows as a columnar batch (Arrow IPC), the one event that is not JSON.

Envelope columns, version 1, in this order, then `input.<name>` and `output.<name>` columns:

| column | type | says |
| --- | --- | --- |
| prediction_id | string | id of the row, `<id>.<i>` |
| request_id | string | the client's own id of the request, or null |
| time | timestamp[us, UTC] | when it was scored |
| version | int32 | the version that answered |
| arm | string | `live` or `shadow` |
| error | string | why the row has no outputs, or null |

An input of more than 64 values per row is one text column: the digest of an `.npy` in the artifact
store with the input of the whole call, in which a row has the place that its prediction id names.
"""

import json
from dataclasses import dataclass
from typing import ClassVar, Self

import pyarrow as pa

from loopwright_common.errors import UndecodableError, without_paths
from loopwright_common.events import INFERENCE_LOGGED

ENVELOPE = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)
INPUT = "input."
OUTPUT = "output."
SCORE = "output.score"  # the monitored score: a binary classifier's last probability column


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceLogged:
    """One sealed batch; `(replica, epoch, sequence)` shows every gap, `last` marks the end.

    `dropped` counts the rows lost in the epoch so far; `redacted` names the input columns that are
    left out on purpose, without their prefix.
    """

    topic: ClassVar[str] = INFERENCE_LOGGED
    content_type: ClassVar[str] = "application/vnd.apache.arrow.stream"

    model_id: str
    model: str
    replica: str
    epoch: str
    sequence: int
    dropped: int
    last: bool
    table: pa.Table
    redacted: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The batch as one Arrow IPC stream, its attributes in the schema's metadata."""
        fields = {
            "envelope": "1",
            "model_id": self.model_id,
            "model": self.model,
            "replica": self.replica,
            "epoch": self.epoch,
            "sequence": str(self.sequence),
            "dropped": str(self.dropped),
            "last": str(int(self.last)),
        }
        if self.redacted:
            fields["redacted"] = json.dumps(self.redacted)
        table = self.table.replace_schema_metadata(fields)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """The batch in an Arrow IPC stream; UndecodableError names what is wrong."""
        try:
            with pa.ipc.open_stream(body) as reader:
                table = reader.read_all()
            fields = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
            for field in ENVELOPE:
                if table.schema.field(field.name).type != field.type:
                    raise UndecodableError(f"{cls.topic}: {field.name}: not {field.type}")
            return cls(
                model_id=fields["model_id"],
                model=fields["model"],
                replica=fields["replica"],
                epoch=fields["epoch"],
                sequence=int(fields["sequence"]),
                dropped=int(fields["dropped"]),
                last=fields["last"] == "1",
                table=table,
                redacted=tuple(map(str, json.loads(fields.get("redacted", "[]")))),
            )
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise UndecodableError(
                f"{cls.topic}: not a version 1 Arrow batch: {without_paths(error)}"
            ) from None
