"""The e-detector as a `Detector`: evidence against a reference profile, group by group."""

from collections.abc import Mapping
from functools import lru_cache

import pyarrow as pa

from loopwright_common.events import DriftKind
from loopwright_monitor.detectors.base import Alarm, Batch, Detector, StreamName, Update
from loopwright_monitor.detectors.betting import Bets, Group, build_bets
from loopwright_monitor.detectors.e_process import EvidenceProcess, ThresholdCrossing
from loopwright_monitor.detectors.profile import Reference


class EDetector(Detector):
    """Compares a stream with its reference by `EvidenceProcess`; see there for its source.

    `kinds` says what an alarm of each group is called; one of a group without a kind is not told.
    """

    needs_reference = True

    def __init__(self, stream: StreamName, kinds: Mapping[Group, DriftKind]) -> None:
        self.stream = stream
        self.kinds = kinds

    def update(self, state: bytes | None, batch: Batch) -> Update:
        """Learn the rows; ValueError for a batch without a reference."""
        if batch.reference is None:
            raise ValueError("the e-detector compares with a reference, and there is none")
        process = evidence_process(batch.reference, state, batch.origin)
        times = batch.rows["time"].cast(pa.int64()).to_numpy()
        crossings = process.update(batch.rows, times, batch.left_out)
        alarms = [
            _alarm(process, crossing, self.kinds[crossing.group], batch.reference)
            for crossing in crossings
            if crossing.group in self.kinds
        ]
        return Update(process.to_bytes(), tuple(alarms))


def evidence_process(reference: Reference, state: bytes | None, origin: int = 0) -> EvidenceProcess:
    """The process as it was left, or a new one whose first row is the model's row `origin`."""
    bets = _bets_on(reference)
    return EvidenceProcess.from_bytes(bets, state) if state else EvidenceProcess(bets, origin)


@lru_cache(maxsize=64)
def _bets_on(reference: Reference) -> Bets:
    return build_bets(reference.profile)


def _alarm(
    process: EvidenceProcess, crossing: ThresholdCrossing, kind: DriftKind, reference: Reference
) -> Alarm:
    return Alarm(
        kind=kind,
        features=crossing.features,
        rows=process.origin + crossing.rows,
        identity=f"{reference.digest}/{process.origin}/{crossing.block}",
        guarantee=guarantee(process.bets, reference.profile.false_alarm_rows),
    )


def guarantee(bets: Bets, rows: int) -> str:
    """The promise in one sentence, with what it rests on."""
    promise = (
        f"While every share stays within its tolerance, an alarm comes after {rows:,} rows "
        "on average or later, however often one looks"
    )
    largest = max((indicator.dispersion for indicator in bets.indicators), default=1.0)
    if largest <= 1:
        return promise
    return (
        f"{promise}; evidence is tempered by the reference's over-dispersion (up to {largest:.0f})"
    )
