"""The interface of drift detectors: a class with two members, a pure function of what it has seen.

To add a detector, write a subclass in a module of its own and enter it in `registry.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from loopwright_common.events import DriftKind
from loopwright_monitor.detectors.evidence import FeatureEvidence
from loopwright_monitor.detectors.profile import Reference

StreamName = Literal["inputs", "score", "losses"]
"""What a detector may watch: the champion's inputs, the scores of each version, or the champion's
losses as labels come."""
CHAMPION_STREAMS: frozenset[StreamName] = frozenset({"inputs", "losses"})
"""Streams that begin anew with another champion."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one stream in their order, one column a feature.

    `inputs` and `score` have a column `time` (timestamps in microseconds) beside the features;
    `losses` is one column of floats, called as its metric. Columns `left_out` are missing on
    purpose. `origin` counts the rows of the model before the first of these; `reference` is None
    unless the detector needs one.
    """

    rows: pa.Table
    origin: int = 0
    left_out: Collection[str] = ()
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Drift that was found: at least one feature, the one with most evidence first.

    `identity` is the same whenever the same rows are learnt, and no other alarm of the detector has
    it for this version and kind; an episode is opened once for it. `rows` is the row of the stream
    after which it came. `guarantee` says in a sentence how rare false alarms are.
    """

    kind: DriftKind
    features: tuple[FeatureEvidence, ...]
    rows: int
    identity: str
    guarantee: str


@dataclass(frozen=True, slots=True)
class Update:
    """The state after a batch, and the alarms within it in order."""

    state: bytes
    alarms: tuple[Alarm, ...] = ()


class Detector(ABC):
    """A sequential detector of one stream, the same object for every version.

    It holds nothing itself: the state goes in and out as bytes and is stored with the position in
    the stream, so that a restart loses and repeats no row. How the rows were cut into batches must
    change neither the state nor the alarms.
    """

    stream: StreamName
    needs_reference: ClassVar[bool] = False
    """Whether it waits until the stream has a reference profile; it learns all rows then."""

    @abstractmethod
    def update(self, state: bytes | None, batch: Batch) -> Update:
        """Learn the rows, from the state after the batch before; None before the first."""
