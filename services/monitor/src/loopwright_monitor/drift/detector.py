"""The e-detector: sequential evidence that an indicator left its tolerance, block by block.

For an indicator with reference share m and tolerance t, bets are laid that its true share exceeds
m + t or falls below m - t, for a few effect sizes. A block's likelihood ratio, tempered by the
indicator's over-dispersion, multiplies a Shiryaev-Roberts statistic; the average over bets and
features is an e-detector whatever the dependence between them, so while every share stays within
its tolerance the first alarm takes 1/alpha blocks on average, or longer (drift notes, 2.2; Shin,
Ramdas and Rinaldo, arXiv 2203.03532). Features are told by e-d-BH (arXiv 2501.04130).
"""

import json
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loopwright_monitor.drift.profile import (
    QUALITY,
    Counts,
    Feature,
    Floats,
    Profile,
    Watch,
    What,
    tally,
    tally_missing,
)

EFFECTS = (0.02, 0.05, 0.12, 0.30)
KINDS = 3
"""Data, quality and prediction detectors share the budget of false alarms in equal parts."""

Group = Literal["data", "quality"]
GROUPS: tuple[Group, ...] = ("data", "quality")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is held against one feature: `evidence` is the natural log of its e-value."""

    name: str
    evidence: float
    before: float
    after: float
    sentence: str
    since_row: int
    since_time: int

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Alarm:
    """The first crossing of a group: features by e-d-BH, rows and block of the detector's life."""

    group: Group
    block: int
    rows: int
    features: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Bets:
    """The bets of a profile, flat and ordered by stream; a stream is a feature within a group."""

    features: tuple[Feature, ...]
    watches: tuple[Watch, ...]
    streams: tuple[tuple[Group, int], ...]
    starts: npt.NDArray[np.intp]
    sizes: Floats
    watch_of: npt.NDArray[np.intp]
    when_had: Floats
    when_not: Floats
    log_threshold: float
    block_rows: int
    digest: str

    def of_group(self, group: Group) -> list[int]:
        return [place for place, (of, _) in enumerate(self.streams) if of == group]


def lay_bets(profile: Profile) -> Bets:
    """Every bet that can be won; a side without room for any effect has none."""
    watches = [watch for feature in profile.features for watch in feature.watches]
    owner = [at for at, feature in enumerate(profile.features) for _ in feature.watches]
    streams: list[tuple[Group, int]] = []
    starts: list[int] = []
    flat: list[tuple[int, float, float]] = []
    for group in GROUPS:
        for number in range(len(profile.features)):
            bets = [
                (place, *ratio)
                for place, watch in enumerate(watches)
                if owner[place] == number and (watch.what in QUALITY) == (group == "quality")
                for ratio in _ratios(watch)
            ]
            if bets:
                streams.append((group, number))
                starts.append(len(flat))
                flat += bets
    lnr = np.array([[had, lacked] for _, had, lacked in flat], dtype=np.float64).reshape(-1, 2)
    return Bets(
        features=profile.features,
        watches=tuple(watches),
        streams=tuple(streams),
        starts=np.array(starts, np.intp),
        sizes=np.diff([*starts, len(flat)]).astype(np.float64),
        watch_of=np.array([place for place, _, _ in flat], np.intp),
        when_had=lnr[:, 0].copy(),
        when_not=lnr[:, 1].copy(),
        log_threshold=math.log(max(profile.false_alarm_rows / profile.block_rows, 1.0) * KINDS),
        block_rows=profile.block_rows,
        digest=profile.digest,
    )


def _ratios(watch: Watch) -> list[tuple[float, float]]:
    """Log-likelihood ratios of a row with and without the indicator, one pair per bet.

    Quality is only bet to get worse: fewer missing values are no fault.
    """
    sides = (1.0,) if watch.what in QUALITY else (1.0, -1.0)
    found = []
    for side in sides:
        edge = watch.share + side * watch.tolerance
        for effect in EFFECTS:
            bet = edge + side * effect
            if 0 < edge < 1 and 0 < bet < 1:
                had = math.log(bet / edge) / watch.dispersion
                lacked = math.log((1 - bet) / (1 - edge)) / watch.dispersion
                found.append((had, lacked))
    return found


@dataclass(slots=True)
class Detector:
    """State of all bets; results depend on the rows alone, never on how they were fetched."""

    bets: Bets
    origin: int = 0
    rows: int = 0
    alarmed: list[Group] = field(default_factory=list)
    block_time: int = 0
    had: Counts = field(init=False)
    asked: Counts = field(init=False)
    ratio: Floats = field(init=False)
    cusum: Floats = field(init=False)
    reset: Counts = field(init=False)
    reset_time: Counts = field(init=False)
    had_since: Counts = field(init=False)
    asked_since: Counts = field(init=False)

    def __post_init__(self) -> None:
        count, watches = len(self.bets.watch_of), len(self.bets.watches)
        self.had, self.asked = np.zeros(watches, np.int64), np.zeros(watches, np.int64)
        self.ratio, self.cusum = np.full(count, -np.inf), np.full(count, -np.inf)
        self.reset, self.reset_time = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.had_since, self.asked_since = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def update(self, rows: pa.Table, times: Counts) -> list[Alarm]:
        """Learn the rows (columns by feature name, times in microseconds); alarms in order."""
        alarms = []
        done = 0
        while done < rows.num_rows:
            within = self.rows % self.bets.block_rows
            if within == 0:
                self.block_time = int(times[done])
            taken = min(self.bets.block_rows - within, rows.num_rows - done)
            self._count(rows.slice(done, taken))
            self.rows += taken
            done += taken
            if self.rows % self.bets.block_rows == 0:
                self._close_block()
                alarms += self._new_alarms()
        return alarms

    def evidence(self, group: Group) -> list[Evidence]:
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
    def from_bytes(cls, bets: Bets, body: bytes) -> "Detector":
        head, _, tail = body.partition(b"\n")
        told = json.loads(head)
        detector = cls(bets, told["origin"], told["rows"], told["alarmed"], told["block_time"])
        at = 0
        for array in detector._arrays():
            array[:] = np.frombuffer(tail, array.dtype, len(array), at)
            at += array.nbytes
        return detector

    def _arrays(self) -> tuple[Counts | Floats, ...]:
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

    def _count(self, rows: pa.Table) -> None:
        present = set(rows.column_names)
        at = 0
        for feature in self.bets.features:
            if feature.name in present:
                had, asked = tally(feature, rows[feature.name].combine_chunks())
            else:
                had, asked = tally_missing(feature, rows.num_rows)
            place = slice(at, at + len(feature.watches))
            self.had[place] += had
            self.asked[place] += asked
            at += len(feature.watches)

    def _close_block(self) -> None:
        bets = self.bets
        had, asked = self.had[bets.watch_of], self.asked[bets.watch_of]
        gain = had * bets.when_had + (asked - had) * bets.when_not
        anew = self.cusum <= 0
        self.reset[anew] = self.rows - bets.block_rows
        self.reset_time[anew] = self.block_time
        self.had_since[anew] = 0
        self.asked_since[anew] = 0
        self.had_since += had
        self.asked_since += asked
        self.ratio = np.logaddexp(self.ratio, 0.0) + gain
        self.cusum = np.maximum(self.cusum, 0.0) + gain
        self.had[:] = 0
        self.asked[:] = 0

    def _new_alarms(self) -> list[Alarm]:
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

    def _alarm(self, group: Group, values: Floats) -> Alarm:
        places = sorted(self.bets.of_group(group), key=lambda place: -values[place])
        told = discoveries([float(values[place]) for place in places], self.bets.log_threshold)
        features = tuple(self._explain(place, float(values[place])) for place in places[:told])
        return Alarm(group, self.rows // self.bets.block_rows, self.rows, features)

    def _stream_values(self) -> Floats:
        """Natural log of each stream's e-value: the mean over its bets."""
        sums: Floats = np.logaddexp.reduceat(self.ratio, self.bets.starts)
        return sums - np.log(self.bets.sizes)

    def _explain(self, stream: int, value: float) -> Evidence:
        start, size = int(self.bets.starts[stream]), int(self.bets.sizes[stream])
        best = start + int(np.argmax(self.ratio[start : start + size]))
        watch = self.bets.watches[int(self.bets.watch_of[best])]
        feature = self.bets.features[self.bets.streams[stream][1]]
        asked = int(self.asked_since[best])
        after = int(self.had_since[best]) / asked if asked else watch.share
        shares = f"{_percent(watch.share)} -> {_percent(after)}"
        return Evidence(
            name=feature.name,
            evidence=value if math.isfinite(value) else 0.0,
            before=watch.share,
            after=after,
            sentence=f"{feature.name}{_described(watch)} {shares}",
            since_row=self.origin + int(self.reset[best]),
            since_time=int(self.reset_time[best]),
        )


def discoveries(ranked: list[float], log_threshold: float) -> int:
    """How many of the ranked log e-values e-d-BH tells; at least one, for the alarm itself."""
    count = len(ranked)
    told = [k for k in range(1, count + 1) if ranked[k - 1] >= log_threshold + math.log(count / k)]
    return max(told, default=1)


def log_mean(values: Floats) -> float:
    """Log of the mean of values given as logs."""
    return float(np.logaddexp.reduce(values)) - math.log(len(values))


_WORDS: dict[What, str] = {
    "other": " in rare levels",
    "broken": " not a finite number",
    "unseen": " with an unseen level",
    "missing": " missing",
}


def _described(watch: Watch) -> str:
    if watch.what == "cut":
        return f" <= {watch.value:g}"
    if watch.what == "level":
        return f"={watch.value}"
    if watch.what in ("below", "above"):
        return f" {watch.what} {watch.value:g}"
    return _WORDS[watch.what]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
