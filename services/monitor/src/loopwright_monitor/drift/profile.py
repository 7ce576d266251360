"""The reference profile: what a version's training rows looked like, as indicators to watch.

Each feature is watched through 0/1 indicators: `value <= cut` at the reference's own quantiles, or
`value is this level`; beside them stand the quality indicators (missing, not a number, outside the
reference's range, unseen level). An indicator carries its reference share, the tolerance around it
and its over-dispersion, measured on block means of the time-ordered reference.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

CUTS = 15
LEVELS = 24
MOST_LEVELS = 1000
TOLERANCE_DEVIATIONS = 3.0
QUALITY_CHANGE = 0.01

What = Literal["cut", "level", "other", "missing", "broken", "below", "above", "unseen"]
Kind = Literal["number", "category", "text"]
QUALITY: frozenset[What] = frozenset({"missing", "broken", "below", "above", "unseen"})
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Watch:
    """One indicator: `share` of reference rows, `tolerance` around it, `dispersion` >= 1."""

    what: What
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
    kind: Kind
    watches: tuple[Watch, ...]
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
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, body: str) -> "Profile":
        told = json.loads(body)
        features = tuple(
            Feature(
                name=f["name"],
                kind=f["kind"],
                watches=tuple(Watch(**watch) for watch in f["watches"]),
                rare=tuple(f["rare"]),
            )
            for f in told.pop("features")
        )
        return cls(features=features, **{**told, "notes": tuple(told["notes"])})

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Strictness:
    """What a person sets: the smallest change that matters, rows between false alarms, a block."""

    smallest_change: float
    false_alarm_rows: int
    block_rows: int


def build(table: pa.Table, names: Sequence[str], strict: Strictness, source: str) -> Profile:
    """Profile the columns `names` of a time-ordered table; columns of other types are noted."""
    features, notes = [], []
    for name in names:
        shape = _shape(name, table[name].combine_chunks())
        if shape is None:
            notes.append(f"{name} is not watched: {table[name].type} is neither number nor text")
            continue
        if shape.kind == "text":
            notes.append(f"{name} has over {MOST_LEVELS} levels: only its missing values count")
        features.append(_measured(shape, table[name], strict))
    return Profile(
        features=tuple(features),
        rows=table.num_rows,
        block_rows=strict.block_rows,
        false_alarm_rows=strict.false_alarm_rows,
        source=source,
        notes=tuple(notes),
    )


def widened(profile: Profile, factors: Mapping[str, float]) -> Profile:
    """The profile with the tolerances of cuts and levels multiplied, for the named features."""
    features = tuple(_widened(each, factors.get(each.name, 1.0)) for each in profile.features)
    notes = [
        f"{name}: tolerance widened {factor:.2f}-fold, or the reference's own last quarter "
        "would have raised an alarm"
        for name, factor in factors.items()
    ]
    return replace(profile, features=features, notes=(*profile.notes, *notes))


def _widened(feature: Feature, factor: float) -> Feature:
    watches = tuple(
        watch if watch.what in QUALITY else replace(watch, tolerance=watch.tolerance * factor)
        for watch in feature.watches
    )
    return replace(feature, watches=watches)


# ---- counting --------------------------------------------------------------------------------


def tally(feature: Feature, column: pa.Array) -> tuple[Counts, Counts]:
    """Per indicator: rows that have it, and rows it was asked of.

    Quality is asked of every row; cuts and levels only of present, known values, so that broken
    data alone is never taken for a change of the world.
    """
    if feature.kind == "number":
        return _tally_numbers(feature, column)
    return _tally_levels(feature, column)


def tally_missing(feature: Feature, rows: int) -> tuple[Counts, Counts]:
    """What `tally` says of `rows` rows that lack the column."""
    return tally(feature, pa.nulls(rows, pa.string() if feature.kind != "number" else pa.float64()))


def _tally_numbers(feature: Feature, column: pa.Array) -> tuple[Counts, Counts]:
    values, broken = _numbers(column)
    finite = values[np.isfinite(values)]
    missing = len(column) - broken - len(finite)
    cuts = np.array([w.value for w in feature.watches if w.what == "cut"], dtype=np.float64)
    places = np.searchsorted(cuts, finite, side="left")
    at_most = np.cumsum(np.bincount(places, minlength=len(cuts) + 1))[:-1]
    quality = {
        "missing": missing,
        "broken": broken,
        "below": _beyond(feature, "below", finite),
        "above": _beyond(feature, "above", finite),
    }
    rest = [quality[watch.what] for watch in feature.watches if watch.what in QUALITY]
    asked = [len(finite)] * len(cuts) + [len(column)] * len(rest)
    return np.array([*at_most, *rest], np.int64), np.array(asked, np.int64)


def _beyond(feature: Feature, side: What, finite: Floats) -> int:
    bound = next((float(w.value or 0.0) for w in feature.watches if w.what == side), 0.0)
    return int(np.sum(finite < bound if side == "below" else finite > bound))


def _tally_levels(feature: Feature, column: pa.Array) -> tuple[Counts, Counts]:
    encoded = _texts(column).dictionary_encode()
    counts = np.bincount(
        encoded.indices.drop_null().to_numpy(zero_copy_only=False).astype(np.int64),
        minlength=len(encoded.dictionary),
    )
    seen = dict(zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True))
    levels = {str(w.value) for w in feature.watches if w.what == "level"}
    other = sum(seen.get(level, 0) for level in feature.rare)
    known = sum(seen.get(level, 0) for level in levels) + other
    present = len(column) - column.null_count
    whole = {"other": other, "missing": column.null_count, "unseen": present - known}
    had = [
        seen.get(str(w.value), 0) if w.what == "level" else whole[w.what] for w in feature.watches
    ]
    asked = [len(column) if w.what in QUALITY else known for w in feature.watches]
    return np.array(had, np.int64), np.array(asked, np.int64)


def _numbers(column: pa.Array) -> tuple[Floats, int]:
    """Values as float64, nulls as NaN; and how many are infinite or no number at all."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    try:
        values = column.cast(pa.float64(), safe=False).fill_null(np.nan)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(len(column), np.nan), len(column) - column.null_count
    numbers: Floats = values.to_numpy(zero_copy_only=False)
    return numbers, int(np.sum(np.isinf(numbers)))


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


# ---- measuring the reference -----------------------------------------------------------------


def _shape(name: str, column: pa.Array) -> Feature | None:
    """The feature with its indicators, not yet measured; None for a type that is not watched."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        return _category(name, column)
    if pa.types.is_temporal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _number(name, column)
    return None


def _number(name: str, column: pa.Array) -> Feature:
    values, _ = _numbers(column)
    finite = values[np.isfinite(values)]
    watches = [_unmeasured("missing"), _unmeasured("broken")]
    if len(finite):
        low, high = float(finite.min()), float(finite.max())
        steps = np.arange(1, CUTS + 1) / (CUTS + 1)
        cuts = np.unique(np.quantile(finite, steps, method="inverted_cdf"))
        inner = [float(cut) for cut in cuts if cut < high] or [high]
        watches = [
            *(_unmeasured("cut", cut) for cut in inner),
            *watches,
            _unmeasured("below", low),
            _unmeasured("above", high),
        ]
    return Feature(name, "number", tuple(watches))


def _category(name: str, column: pa.Array) -> Feature:
    counted = pc.value_counts(_texts(column).drop_null())
    pairs = sorted(
        ((item["values"], item["counts"]) for item in counted.to_pylist()),
        key=lambda pair: (-pair[1], pair[0]),
    )
    if len(pairs) > MOST_LEVELS:
        return Feature(name, "text", (_unmeasured("missing"),))
    common = [level for level, _ in pairs[:LEVELS]]
    rare = tuple(sorted(level for level, _ in pairs[LEVELS:]))
    watches = [*(_unmeasured("level", level) for level in common)]
    if rare:
        watches.append(_unmeasured("other"))
    watches += [_unmeasured("missing"), _unmeasured("unseen")]
    return Feature(name, "category", tuple(watches), rare)


def _unmeasured(what: What, value: float | str | None = None) -> Watch:
    return Watch(what, value, 0.0, 0.0, 1.0)


def _measured(shape: Feature, column: pa.ChunkedArray, strict: Strictness) -> Feature:
    whole = column.combine_chunks()
    size = _measuring_block(len(whole), strict.block_rows)
    starts = range(0, len(whole) - size + 1, size)
    blocks = [tally(shape, whole.slice(start, size)) for start in starts]
    had, asked = tally(shape, whole)
    watches = []
    for place, watch in enumerate(shape.watches):
        rows = int(asked[place])
        share = int(had[place]) / rows if rows else 0.0
        parts = [(int(h[place]), int(a[place])) for h, a in blocks if a[place]]
        dispersion = _dispersion(parts, share)
        least = QUALITY_CHANGE if watch.what in QUALITY else strict.smallest_change
        noise = (dispersion * share * (1 - share) / rows) ** 0.5 if rows else 0.0
        tolerance = max(least, TOLERANCE_DEVIATIONS * noise)
        watches.append(Watch(watch.what, watch.value, share, tolerance, dispersion))
    return replace(shape, watches=tuple(watches))


def _measuring_block(rows: int, block_rows: int) -> int:
    """Blocks as the detector counts them, smaller where the reference has fewer than eight."""
    return max(1, min(block_rows, rows // 8))


def _dispersion(parts: Sequence[tuple[int, int]], share: float) -> float:
    """Variance of block means over what independent rows would give; at least 1."""
    if len(parts) < 2 or not 0 < share < 1:
        return 1.0
    means = np.array([had / asked for had, asked in parts])
    size = float(np.mean([asked for _, asked in parts]))
    return max(1.0, float(np.var(means, ddof=1)) * size / (share * (1 - share)))
