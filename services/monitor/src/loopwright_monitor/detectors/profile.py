"""The reference profile: what a version's training rows looked like, as indicators to watch.

Each feature is watched through 0/1 indicators: `value <= cut` at the reference's own quantiles, or
`value is this level`; beside them stand the quality indicators (missing, not a number, outside the
reference's range, unseen level). An indicator carries its reference share, the tolerance around it
and its over-dispersion, measured on block means of the time-ordered reference.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

IndicatorKind = Literal["cut", "level", "other", "missing", "broken", "below", "above", "unseen"]
FeatureKind = Literal["number", "category", "text"]
QUALITY: frozenset[IndicatorKind] = frozenset({"missing", "broken", "below", "above", "unseen"})
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator: `share` of reference rows, `tolerance` around it, `dispersion` >= 1."""

    what: IndicatorKind
    value: float | str | None
    share: float
    tolerance: float
    dispersion: float


@dataclass(frozen=True, slots=True)
class Feature:
    """One input and its indicators; `rare` are known levels that share the indicator `other`.

    A `text` feature has too many levels to watch any of them: only missing values count.
    """

    name: str
    kind: FeatureKind
    indicators: tuple[Indicator, ...]
    rare: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a detector compares with; `notes` say in words what a reader should know of it."""

    features: tuple[Feature, ...]
    rows: int
    block_rows: int
    false_alarm_rows: int
    source: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The stored form, of which `digest` is the name; an indicator is called a watch in it."""
        body = asdict(self)
        for feature in body["features"]:
            feature["watches"] = feature.pop("indicators")
        return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, body: str) -> "Profile":
        fields = json.loads(body)
        features = tuple(
            Feature(
                name=f["name"],
                kind=f["kind"],
                indicators=tuple(Indicator(**indicator) for indicator in f["watches"]),
                rare=tuple(f["rare"]),
            )
            for f in fields.pop("features")
        )
        return cls(features=features, **{**fields, "notes": tuple(fields["notes"])})

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reference:
    """A stored profile; its digest alone tells it from another."""

    digest: str
    profile: Profile = field(compare=False)


@dataclass(frozen=True, slots=True)
class Strictness:
    """What a person sets: the smallest change that matters, rows between false alarms, a block."""

    smallest_change: float
    false_alarm_rows: int
    block_rows: int


def widen_tolerances(profile: Profile, factors: Mapping[str, float]) -> Profile:
    """The profile with the tolerances of cuts and levels multiplied, for the named features."""
    features = tuple(
        _with_wider_tolerances(each, factors.get(each.name, 1.0)) for each in profile.features
    )
    notes = [
        f"{name}: tolerance widened {factor:.2f}-fold, or the reference's own last quarter "
        "would have raised an alarm"
        for name, factor in factors.items()
    ]
    return replace(profile, features=features, notes=(*profile.notes, *notes))


def _with_wider_tolerances(feature: Feature, factor: float) -> Feature:
    indicators = tuple(
        indicator
        if indicator.what in QUALITY
        else replace(indicator, tolerance=indicator.tolerance * factor)
        for indicator in feature.indicators
    )
    return replace(feature, indicators=indicators)
