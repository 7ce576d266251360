"""Counting: how many rows of a column have each indicator of a feature."""

import numpy as np
import pyarrow as pa

from loopwright_monitor.detectors.profile import QUALITY, Counts, Feature, Floats, IndicatorKind


def count_indicators(feature: Feature, column: pa.Array) -> tuple[Counts, Counts]:
    """Rows that have each indicator, and rows it was asked of; both [indicators].

    Quality is asked of every row; cuts and levels only of present, known values, so that broken
    data alone is never taken for a change of the world.
    """
    if feature.kind == "number":
        return _count_numbers(feature, column)
    return _count_levels(feature, column)


def count_missing_column(feature: Feature, rows: int) -> tuple[Counts, Counts]:
    """What `count_indicators` says of `rows` rows that lack the column."""
    return count_indicators(
        feature, pa.nulls(rows, pa.string() if feature.kind != "number" else pa.float64())
    )


def _count_numbers(feature: Feature, column: pa.Array) -> tuple[Counts, Counts]:
    values, broken = numbers_of(column)
    known = np.isfinite(values)
    finite = values if known.all() else values[known]
    missing = len(column) - broken - len(finite)
    cuts = np.array([w.value for w in feature.indicators if w.what == "cut"], dtype=np.float64)
    positions = np.searchsorted(cuts, finite, side="left")
    at_most = np.cumsum(np.bincount(positions, minlength=len(cuts) + 1))[:-1]
    quality = {
        "missing": missing,
        "broken": broken,
        "below": _beyond(feature, "below", finite),
        "above": _beyond(feature, "above", finite),
    }
    rest = [
        quality[indicator.what] for indicator in feature.indicators if indicator.what in QUALITY
    ]
    asked = [len(finite)] * len(cuts) + [len(column)] * len(rest)
    return np.array([*at_most, *rest], np.int64), np.array(asked, np.int64)


def _beyond(feature: Feature, side: IndicatorKind, finite: Floats) -> int:
    bound = next((float(w.value or 0.0) for w in feature.indicators if w.what == side), 0.0)
    return int(np.count_nonzero(finite < bound if side == "below" else finite > bound))


def _count_levels(feature: Feature, column: pa.Array) -> tuple[Counts, Counts]:
    encoded = texts_of(column).dictionary_encode()
    counts = np.bincount(
        encoded.indices.drop_null().to_numpy(zero_copy_only=False).astype(np.int64),
        minlength=len(encoded.dictionary),
    )
    seen = dict(zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True))
    levels = {str(w.value) for w in feature.indicators if w.what == "level"}
    other = sum(seen.get(level, 0) for level in feature.rare)
    known = sum(seen.get(level, 0) for level in levels) + other
    present = len(column) - column.null_count
    whole = {"other": other, "missing": column.null_count, "unseen": present - known}
    had = [
        seen.get(str(w.value), 0) if w.what == "level" else whole[w.what]
        for w in feature.indicators
    ]
    asked = [len(column) if w.what in QUALITY else known for w in feature.indicators]
    return np.array(had, np.int64), np.array(asked, np.int64)


def numbers_of(column: pa.Array) -> tuple[Floats, int]:
    """Values [rows] as float64, nulls as NaN; and how many are infinite or no number at all."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    if not pa.types.is_float64(column.type):
        try:
            column = column.cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return np.full(len(column), np.nan), len(column) - column.null_count
    numbers: Floats = column.to_numpy(zero_copy_only=False)
    return numbers, int(np.count_nonzero(np.isinf(numbers)))


def texts_of(column: pa.Array) -> pa.Array:
    """The column as plain strings, whatever its type."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if pa.types.is_string(column.type) else column.cast(pa.string())
