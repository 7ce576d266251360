"""Records of calls until they are logged, and the tables that are logged."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from loopwright_common.cloudevents import ENVELOPE
from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.routing.record_policy import RecordedArm

Digests = Mapping[tuple[str, str], str]
"""Digests of large inputs, by prediction id and name of the input."""


@dataclass(slots=True)
class CallRecord:
    """What a call was given and answered; `size` is its share of the buffer, in bytes.

    `micros`: when it was scored, in microseconds since 1970.
    """

    kind: RecordedArm
    prediction_id: str
    request_id: str | None
    micros: int
    scored: ModelResult
    size: int

    @property
    def rows(self) -> int:
        """How many rows the call had."""
        return self.scored.inputs.rows

    @property
    def buffer_key(self) -> tuple[RecordedArm, bool]:
        """Calls with the same key share a column buffer: failed ones have no outputs."""
        return self.kind, self.scored.outputs is None


@dataclass(frozen=True, slots=True)
class LoggedRows:
    """Rows with the same columns, in the order of their calls, without the `redacted` ones."""

    table: pa.Table
    redacted: tuple[str, ...] = ()


def empty_rows() -> LoggedRows:
    """A batch of none says that the stream has ended, or how much of it was dropped."""
    return LoggedRows(ENVELOPE.empty_table())


@dataclass(frozen=True, slots=True)
class LargeInput:
    """An input that does not fit into columns."""

    prediction_id: str
    name: str
    values: np.ndarray
