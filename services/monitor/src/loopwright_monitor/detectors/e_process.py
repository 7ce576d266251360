"""The e-detector: sequential evidence that an indicator left its tolerance, block by block.

For an indicator with reference share m and tolerance t, bets are laid that its true share exceeds
m + t or falls below m - t, for a few effect sizes. A block's likelihood ratio, tempered by the
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

Small = npt.NDArray[np.uint32]


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

    `reset` is the block in which a bet's present run of evidence began, `reset_time` its time.
    """

    bets: Bets
    origin: int = 0
    rows: int = 0
    alarmed: list[Group] = field(default_factory=list)
    block_time: int = 0
    had: Counts = field(init=False)
    asked: Counts = field(init=False)
    ratio: Floats = field(init=False)
    cusum: Floats = field(init=False)
    reset: Small = field(init=False)
    reset_time: Counts = field(init=False)
    had_since: Small = field(init=False)
    asked_since: Small = field(init=False)

    def __post_init__(self) -> None:
        count, indicators = len(self.bets.indicator_of), len(self.bets.indicators)
        self.had, self.asked = np.zeros(indicators, np.int64), np.zeros(indicators, np.int64)
        self.ratio, self.cusum = np.full(count, -np.inf), np.full(count, -np.inf)
        self.reset, self.reset_time = np.zeros(count, np.uint32), np.zeros(count, np.int64)
        self.had_since, self.asked_since = np.zeros(count, np.uint32), np.zeros(count, np.uint32)

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
        told = [self._explain(place, float(values[place])) for place in self.bets.of_group(group)]
        return sorted(told, key=lambda found: (-found.evidence, found.name))

    def to_bytes(self) -> bytes:
        told = {"profile": self.bets.digest, "origin": self.origin, "rows": self.rows,
                "alarmed": self.alarmed, "block_time": self.block_time}  # fmt: skip
        arrays = b"".join(array.tobytes() for array in self._arrays())
        return json.dumps(told, sort_keys=True).encode() + b"\n" + arrays

    @classmethod
    def from_bytes(cls, bets: Bets, body: bytes) -> "EvidenceProcess":
        head, _, tail = body.partition(b"\n")
        told = json.loads(head)
        detector = cls(bets, told["origin"], told["rows"], told["alarmed"], told["block_time"])
        at = 0
        for array in detector._arrays():
            array[:] = np.frombuffer(tail, array.dtype, len(array), at)
            at += array.nbytes
        return detector

    def _arrays(self) -> tuple[Counts | Floats | Small, ...]:
        return (
            self.had,
            self.asked,
            self.ratio,
            self.cusum,
            self.reset,
            self.reset_time,
            self.had_since,
            self.asked_since,
        )

    def _count(
        self, columns: Mapping[str, pa.Array], left_out: Collection[str], start: int, rows: int
    ) -> None:
        at = 0
        for feature in self.bets.features:
            place = slice(at, at + len(feature.indicators))
            at += len(feature.indicators)
            if feature.name in left_out:
                continue
            if feature.name in columns:
                had, asked = count_indicators(feature, columns[feature.name].slice(start, rows))
            else:
                had, asked = count_missing_column(feature, rows)
            self.had[place] += had
            self.asked[place] += asked

    def _close_block(self) -> None:
        bets = self.bets
        had, asked = self.had[bets.indicator_of], self.asked[bets.indicator_of]
        gain = had * bets.when_had + (asked - had) * bets.when_not
        anew = self.cusum <= 0
        self.reset[anew] = self.rows // bets.block_rows - 1
        self.reset_time[anew] = self.block_time
        self.had_since[anew] = 0
        self.asked_since[anew] = 0
        self.had_since += had.astype(np.uint32)
        self.asked_since += asked.astype(np.uint32)
        # A bet that was asked nothing in the block neither wins nor ages.
        self.ratio = np.where(asked > 0, np.logaddexp(self.ratio, 0.0) + gain, self.ratio)
        self.cusum = np.maximum(self.cusum, 0.0) + gain
        self.had[:] = 0
        self.asked[:] = 0

    def _new_alarms(self) -> list[ThresholdCrossing]:
        waiting = [group for group in GROUPS if group not in self.alarmed]
        if not waiting or not len(self.bets.streams):
            return []
        values = self._stream_values()
        found = []
        for group in waiting:
            places = self.bets.of_group(group)
            if places and log_mean(values[places]) >= self.bets.log_threshold:
                self.alarmed.append(group)
                found.append(self._alarm(group, values))
        return found

    def _alarm(self, group: Group, values: Floats) -> ThresholdCrossing:
        places = sorted(self.bets.of_group(group), key=lambda place: -values[place])
        told = discoveries([float(values[place]) for place in places], self.bets.log_threshold)
        features = tuple(self._explain(place, float(values[place])) for place in places[:told])
        return ThresholdCrossing(group, self.rows // self.bets.block_rows, self.rows, features)

    def _stream_values(self) -> Floats:
        """Natural log of each stream's e-value: the mean over its bets."""
        sums: Floats = np.logaddexp.reduceat(self.ratio, self.bets.starts)
        return sums - np.log(self.bets.sizes)

    def _explain(self, stream: int, value: float) -> FeatureEvidence:
        start, size = int(self.bets.starts[stream]), int(self.bets.sizes[stream])
        best = start + int(np.argmax(self.ratio[start : start + size]))
        indicator = self.bets.indicators[int(self.bets.indicator_of[best])]
        feature = self.bets.features[self.bets.streams[stream][1]]
        asked = int(self.asked_since[best])
        after = int(self.had_since[best]) / asked if asked else indicator.share
        return FeatureEvidence(
            name=feature.name,
            evidence=value if math.isfinite(value) else 0.0,
            before=indicator.share,
            after=after,
            sentence=sentence_of(feature.name, indicator, after),
            since_row=self.origin + int(self.reset[best]) * self.bets.block_rows,
            since_time=int(self.reset_time[best]),
        )
