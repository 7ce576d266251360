"""The bets on a profile: per indicator and side, log-likelihood ratios of a few effect sizes."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from loopwright_monitor.detectors.profile import QUALITY, Feature, Floats, Indicator, Profile

EFFECTS = (0.02, 0.05, 0.12, 0.30)
"""Differences of a share beyond its tolerance that are bet on."""
GUARANTEED_KINDS = 3
"""Alarms of data, quality and prediction share the budget of false alarms in equal parts."""

Group = Literal["data", "quality"]
GROUPS: tuple[Group, ...] = ("data", "quality")


@dataclass(frozen=True, slots=True)
class Bets:
    """The bets of a profile, flat and ordered by stream; a stream is a feature within a group.

    Bet b is on `indicators[indicator_of[b]]` and gains `gain_hit[b]` nats a row that has it and
    `gain_miss[b]` a row that has not; stream s has `sizes[s]` bets from `starts[s]` on. An alarm
    comes where the log of the mean e-value reaches `log_threshold`.
    """

    features: tuple[Feature, ...]
    indicators: tuple[Indicator, ...]
    streams: tuple[tuple[Group, int], ...]
    starts: npt.NDArray[np.intp]
    sizes: Floats
    indicator_of: npt.NDArray[np.intp]
    gain_hit: Floats
    gain_miss: Floats
    log_threshold: float
    block_rows: int
    digest: str

    def of_group(self, group: Group) -> list[int]:
        """The streams of the group, by number."""
        return [at for at, (of, _) in enumerate(self.streams) if of == group]


def build_bets(profile: Profile) -> Bets:
    """Every bet that can be won; a side without room for any effect has none.

    The bets are the likelihood ratios of a Bernoulli share on the edge of its tolerance and beyond,
    e-values for the composite hypothesis that the share is within (arXiv 2203.03532). The threshold
    is 1/alpha = `GUARANTEED_KINDS` * `false_alarm_rows` / `block_rows`, in blocks.
    """
    indicators = [indicator for feature in profile.features for indicator in feature.indicators]
    owner = [at for at, feature in enumerate(profile.features) for _ in feature.indicators]
    streams: list[tuple[Group, int]] = []
    starts: list[int] = []
    flat: list[tuple[int, float, float]] = []
    for group in GROUPS:
        for number in range(len(profile.features)):
            bets = [
                (at, *ratio)
                for at, indicator in enumerate(indicators)
                if owner[at] == number and (indicator.what in QUALITY) == (group == "quality")
                for ratio in _ratios(indicator)
            ]
            if bets:
                streams.append((group, number))
                starts.append(len(flat))
                flat += bets
    lnr = np.array([[had, lacked] for _, had, lacked in flat], dtype=np.float64).reshape(-1, 2)
    return Bets(
        features=profile.features,
        indicators=tuple(indicators),
        streams=tuple(streams),
        starts=np.array(starts, np.intp),
        sizes=np.diff([*starts, len(flat)]).astype(np.float64),
        indicator_of=np.array([at for at, _, _ in flat], np.intp),
        gain_hit=lnr[:, 0].copy(),
        gain_miss=lnr[:, 1].copy(),
        log_threshold=math.log(
            max(profile.false_alarm_rows / profile.block_rows, 1.0) * GUARANTEED_KINDS
        ),
        block_rows=profile.block_rows,
        digest=profile.digest,
    )


def _ratios(indicator: Indicator) -> list[tuple[float, float]]:
    """Log-likelihood ratios of a row with and without the indicator, one pair per bet.

    Quality is only bet to get worse: fewer missing values are no fault.
    """
    sides = (1.0,) if indicator.what in QUALITY else (1.0, -1.0)
    ratios = []
    for side in sides:
        edge = indicator.share + side * indicator.tolerance
        for effect in EFFECTS:
            bet = edge + side * effect
            if 0 < edge < 1 and 0 < bet < 1:
                had = math.log(bet / edge) / indicator.dispersion
                lacked = math.log((1 - bet) / (1 - edge)) / indicator.dispersion
                ratios.append((had, lacked))
    return ratios
