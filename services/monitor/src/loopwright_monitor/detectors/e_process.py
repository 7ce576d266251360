"""The e-detector: sequential evidence that an indicator left its tolerance, block by block.

For an indicator with reference share m and tolerance t, bets are laid that its true share exceeds
m + t or falls below m - t, for a few effect sizes. A block's likelihood log_sr, tempered by the
indicator's over-dispersion, multiplies a Shiryaev-Roberts statistic; the average over bets and
features is an e-detector whatever the dependence between them, so while every share stays within
its tolerance the first alarm takes 1/alpha blocks on average, or longer (Shin, Ramdas and
Rinaldo, arXiv 2203.03532). Features are told by e-d-BH (arXiv 2501.04130).
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loopwright_monitor.detectors.betting import GROUPS, Bets, Group
from loopwright_monitor.detectors.evidence import (
    FeatureEvidence,
    discoveries,
    log_mean,
    sentence_of,
)
from loopwright_monitor.detectors.indicator_counts import count_indicators, count_missing_column
from loopwright_monitor.detectors.profile import Counts, Floats

Unsigned = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ThresholdCrossing:
    """The first crossing of a group: features by e-d-BH, rows and block of the detector's life."""

    group: Group
    block: int
    rows: int
    features: tuple[FeatureEvidence, ...]


@dataclass(slots=True)
class EvidenceProcess:
    """State of all bets; results depend on the rows alone, never on how they were fetched.

    `hits` and `trials` count the open block: rows that have an indicator, rows it was asked of. Per
    bet, in nats: `log_sr` is its Shiryaev-Roberts statistic, `log_cusum` its CUSUM, whose last
    reset is the estimated change point: `reset` is the block, `reset_time` its time in microseconds
    since 1970, `hits_since` and `trials_since` the counts from there on.
    """

    bets: Bets
    origin: int = 0
    rows: int = 0
    alarmed: list[Group] = field(default_factory=list)
    block_time: int = 0
    hits: Counts = field(init=False)
    trials: Counts = field(init=False)
    log_sr: Floats = field(init=False)
    log_cusum: Floats = field(init=False)
    reset: Unsigned = field(init=False)
    reset_time: Counts = field(init=False)
    hits_since: Unsigned = field(init=False)
    trials_since: Unsigned = field(init=False)

    def __post_init__(self) -> None:
        count, indicators = len(self.bets.indicator_of), len(self.bets.indicators)
        self.hits, self.trials = np.zeros(indicators, np.int64), np.zeros(indicators, np.int64)
        self.log_sr, self.log_cusum = np.full(count, -np.inf), np.full(count, -np.inf)
        self.reset, self.reset_time = np.zeros(count, np.uint32), np.zeros(count, np.int64)
        self.hits_since, self.trials_since = np.zeros(count, np.uint32), np.zeros(count, np.uint32)

    def update(
        self, rows: pa.Table, times: Counts, left_out: Collection[str] = ()
    ) -> list[ThresholdCrossing]:
        """Learn the rows (columns by feature name, times in microseconds); alarms in order.

        A feature without its column is missing, but nothing is learnt of those `left_out`.
        """
        alarms = []
        names = [name for name in rows.column_names if name not in left_out]
        columns = {name: rows[name].combine_chunks() for name in names}
        done = 0
        while done < rows.num_rows:
            within = self.rows % self.bets.block_rows
            if within == 0:
                self.block_time = int(times[done])
            taken = min(self.bets.block_rows - within, rows.num_rows - done)
            self._count(columns, left_out, done, taken)
            self.rows += taken
            done += taken
            if self.rows % self.bets.block_rows == 0:
                self._close_block()
                alarms += self._new_alarms()
        return alarms

    def evidence(self, group: Group) -> list[FeatureEvidence]:
        """Every feature of the group, most evidence first."""
        if not len(self.bets.streams):
            return []
        values = self._stream_values()
        evidence = [
            self._explain(stream, float(values[stream])) for stream in self.bets.of_group(group)
        ]
        return sorted(evidence, key=lambda each: (-each.evidence, each.name))

    def to_bytes(self) -> bytes:
        """A line of JSON, then the arrays as they lie in memory; equal for equal rows."""
        head = {"profile": self.bets.digest, "origin": self.origin, "rows": self.rows,
                "alarmed": self.alarmed, "block_time": self.block_time}  # fmt: skip
        arrays = b"".join(array.tobytes() for array in self._arrays())
        return json.dumps(head, sort_keys=True).encode() + b"\n" + arrays

    @classmethod
    def from_bytes(cls, bets: Bets, body: bytes) -> "EvidenceProcess":
        """The state that `to_bytes` gave, on the same bets."""
        first_line, _, tail = body.partition(b"\n")
        head = json.loads(first_line)
        process = cls(bets, head["origin"], head["rows"], head["alarmed"], head["block_time"])
        at = 0
        for array in process._arrays():
            array[:] = np.frombuffer(tail, array.dtype, len(array), at)
            at += array.nbytes
        return process

    def _arrays(self) -> tuple[Counts | Floats | Unsigned, ...]:
        return (
            self.hits,
            self.trials,
            self.log_sr,
            self.log_cusum,
            self.reset,
            self.reset_time,
            self.hits_since,
            self.trials_since,
        )

    def _count(
        self, columns: Mapping[str, pa.Array], left_out: Collection[str], start: int, rows: int
    ) -> None:
        at = 0
        for feature in self.bets.features:
            span = slice(at, at + len(feature.indicators))
            at += len(feature.indicators)
            if feature.name in left_out:
                continue
            if feature.name in columns:
                hits, trials = count_indicators(feature, columns[feature.name].slice(start, rows))
            else:
                hits, trials = count_missing_column(feature, rows)
            self.hits[span] += hits
            self.trials[span] += trials

    def _close_block(self) -> None:
        bets = self.bets
        hits, trials = self.hits[bets.indicator_of], self.trials[bets.indicator_of]
        gain = hits * bets.gain_hit + (trials - hits) * bets.gain_miss
        anew = self.log_cusum <= 0
        self.reset[anew] = self.rows // bets.block_rows - 1
        self.reset_time[anew] = self.block_time
        self.hits_since[anew] = 0
        self.trials_since[anew] = 0
        self.hits_since += hits.astype(np.uint32)
        self.trials_since += trials.astype(np.uint32)
        # A bet that was asked nothing in the block neither wins nor ages.
        self.log_sr = np.where(trials > 0, np.logaddexp(self.log_sr, 0.0) + gain, self.log_sr)
        self.log_cusum = np.maximum(self.log_cusum, 0.0) + gain
        self.hits[:] = 0
        self.trials[:] = 0

    def _new_alarms(self) -> list[ThresholdCrossing]:
        waiting = [group for group in GROUPS if group not in self.alarmed]
        if not waiting or not len(self.bets.streams):
            return []
        values = self._stream_values()
        crossings = []
        for group in waiting:
            streams = self.bets.of_group(group)
            if streams and log_mean(values[streams]) >= self.bets.log_threshold:
                self.alarmed.append(group)
                crossings.append(self._alarm(group, values))
        return crossings

    def _alarm(self, group: Group, values: Floats) -> ThresholdCrossing:
        streams = sorted(self.bets.of_group(group), key=lambda stream: -values[stream])
        count = discoveries([float(values[stream]) for stream in streams], self.bets.log_threshold)
        features = tuple(self._explain(stream, float(values[stream])) for stream in streams[:count])
        return ThresholdCrossing(group, self.rows // self.bets.block_rows, self.rows, features)

    def _stream_values(self) -> Floats:
        """Natural log of each stream's e-value: the mean over its bets."""
        sums: Floats = np.logaddexp.reduceat(self.log_sr, self.bets.starts)
        return sums - np.log(self.bets.sizes)

    def _explain(self, stream: int, value: float) -> FeatureEvidence:
        start, size = int(self.bets.starts[stream]), int(self.bets.sizes[stream])
        best = start + int(np.argmax(self.log_sr[start : start + size]))
        indicator = self.bets.indicators[int(self.bets.indicator_of[best])]
        feature = self.bets.features[self.bets.streams[stream][1]]
        trials = int(self.trials_since[best])
        after = int(self.hits_since[best]) / trials if trials else indicator.share
        return FeatureEvidence(
            name=feature.name,
            evidence=value if math.isfinite(value) else 0.0,
            before=indicator.share,
            after=after,
            sentence=sentence_of(feature.name, indicator, after),
            since_row=self.origin + int(self.reset[best]) * self.bets.block_rows,
            since_time=int(self.reset_time[best]),
        )
