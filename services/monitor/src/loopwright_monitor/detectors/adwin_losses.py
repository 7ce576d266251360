"""Concept drift: a version's losses over its labelled rows, watched by river's ADWIN.

Losses are averaged over blocks, in units of their own first rows, so that ADWIN meets values of
about mean 0 and deviation 1 whatever the task. The state is the blocks of ADWIN's window and
nothing else, so ADWIN is made anew from it and what is found depends on the losses alone.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import numpy as np

from loopwright_monitor.detectors.base import Alarm, Batch, Detector, Update
from loopwright_monitor.detectors.evidence import FeatureEvidence

REFERENCE = 1024
"""Labelled rows that say which loss is usual."""
BLOCK = 32
DELTA = 1e-4
"""Tried on shuffled rows: no alarm in 900,000."""
MAX_BLOCKS = 1024
GUARANTEE = (
    f"river's ADWIN on losses of {BLOCK} rows each, beside those of the first {REFERENCE:,} "
    "labelled rows, in the order in which labels came: tried on shuffled rows, not guaranteed"
)
_LEAST_DEVIATION = 0.01
"""A share of the mean: losses that never differ would make any change infinite."""


@dataclass(frozen=True, slots=True)
class LossRise:
    """The mean loss before and after, and the labelled row from which on it is the latter."""

    before: float
    after: float
    since_row: int
    rows: int


@dataclass(slots=True)
class LossHistory:
    """What is known of a version's losses; `window` holds the standardised blocks.

    `reported` when a rise has been reported, which happens once.
    """

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    block: float = 0.0
    window: list[float] = field(default_factory=list)
    reported: bool = False

    def learn(self, losses: Iterable[float]) -> LossRise | None:
        """Learn the losses of rows in order; not None once, when their mean has risen."""
        rise = None
        for loss in losses:
            self.rows += 1
            if self.rows <= REFERENCE:
                self.total += loss
                self.squares += loss * loss
                continue
            self.block += (loss - self.mean) / self.deviation
            if (self.rows - REFERENCE) % BLOCK == 0:
                rise = self._close_block() or rise
        return rise

    @property
    def mean(self) -> float:
        """Mean loss of the reference rows, in the loss's own unit."""
        return self.total / min(self.rows, REFERENCE)

    @property
    def deviation(self) -> float:
        """Standard deviation of the reference rows' losses, in the same unit; never nothing."""
        variance = self.squares / min(self.rows, REFERENCE) - self.mean**2
        return max(math.sqrt(max(variance, 0.0)), _LEAST_DEVIATION * max(self.mean, 1e-6))

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, body: str) -> "LossHistory":
        return cls(**json.loads(body))

    def _close_block(self) -> LossRise | None:
        self.window.append(self.block / math.sqrt(BLOCK))
        self.block = 0.0
        if not _changed(self.window):
            if len(self.window) >= MAX_BLOCKS:
                self.window = self.window[MAX_BLOCKS // 2 :]
            return None
        split, before, after = _split(self.window)
        self.window = self.window[split:]
        if self.reported or after <= before:
            return None
        self.reported = True
        unit = self.deviation / math.sqrt(BLOCK)
        return LossRise(
            before=self.mean + before * unit,
            after=self.mean + after * unit,
            since_row=self.rows - len(self.window) * BLOCK,
            rows=self.rows,
        )


class AdwinLossDetector(Detector):
    """Tells once that the mean loss of a version has risen, by ADWIN on its standardised blocks.

    ADWIN is river's (Bifet and Gavalda, Learning from time-changing data with adaptive windowing,
    2007). The state is `LossHistory` as JSON.
    """

    stream = "losses"

    def update(self, state: bytes | None, batch: Batch) -> Update:
        """Learn the losses, the one column of the batch."""
        history = LossHistory.from_json(state.decode()) if state else LossHistory()
        [name] = batch.rows.column_names
        risen = history.learn(batch.rows[name].to_pylist())
        alarms = () if risen is None else (_alarm(name, risen),)
        return Update(history.to_json().encode(), alarms)


def _alarm(name: str, risen: LossRise) -> Alarm:
    evidence = FeatureEvidence(
        name=name,
        evidence=0.0,
        before=risen.before,
        after=risen.after,
        sentence=(
            f"{name} {risen.before:.3g} -> {risen.after:.3g} since labelled row {risen.since_row:,}"
        ),
        since_row=risen.since_row,
        since_time=None,
    )
    return Alarm("concept", (evidence,), risen.rows, str(risen.rows), GUARANTEE)


def _changed(window: list[float]) -> bool:
    """Whether ADWIN, having met the whole window, finds a change at its end."""
    from river import drift

    detector = drift.ADWIN(delta=DELTA, clock=1)
    for value in window:
        detector.update(value)
    return bool(detector.drift_detected)


def _split(window: list[float]) -> tuple[int, float, float]:
    """Where the window's means differ most, in standard errors, and the two means."""
    values = np.array(window)
    count = len(values)
    first = np.arange(1, count)
    before = np.cumsum(values)[:-1] / first
    after = (values.sum() - np.cumsum(values)[:-1]) / (count - first)
    best = int(np.argmax(np.abs(after - before) * np.sqrt(first * (count - first) / count)))
    return best + 1, float(before[best]), float(after[best])
