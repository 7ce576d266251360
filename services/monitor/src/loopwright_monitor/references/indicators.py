"""Measuring a reference: which indicators its columns get, their shares and over-dispersion."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopwright_monitor.detectors.indicator_counts import count_indicators, numbers_of, texts_of
from loopwright_monitor.detectors.profile import (
    QUALITY,
    Feature,
    Indicator,
    IndicatorKind,
    Profile,
    Strictness,
)

CUTS = 15
LEVELS = 24
MAX_LEVELS = 1000
TOLERANCE_DEVIATIONS = 3.0
QUALITY_CHANGE = 0.01


def measure_profile(
    table: pa.Table, names: Sequence[str], strict: Strictness, source: str
) -> Profile:
    """Profile the columns `names` of a time-ordered table; columns of other types are noted."""
    features, notes = [], []
    for name in names:
        shape = _shape(name, table[name].combine_chunks())
        if shape is None:
            notes.append(f"{name} is not watched: {table[name].type} is neither number nor text")
            continue
        if shape.kind == "text":
            notes.append(f"{name} has over {MAX_LEVELS} levels: only its missing values count")
        features.append(_measured(shape, table[name], strict))
    return Profile(
        features=tuple(features),
        rows=table.num_rows,
        block_rows=strict.block_rows,
        false_alarm_rows=strict.false_alarm_rows,
        source=source,
        notes=tuple(notes),
    )


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
    values, _ = numbers_of(column)
    finite = values[np.isfinite(values)]
    indicators = [_unmeasured("missing"), _unmeasured("broken")]
    if len(finite):
        low, high = float(finite.min()), float(finite.max())
        steps = np.arange(1, CUTS + 1) / (CUTS + 1)
        cuts = np.unique(np.quantile(finite, steps, method="inverted_cdf"))
        inner = [float(cut) for cut in cuts if cut < high] or [high]
        indicators = [
            *(_unmeasured("cut", cut) for cut in inner),
            *indicators,
            _unmeasured("below", low),
            _unmeasured("above", high),
        ]
    return Feature(name, "number", tuple(indicators))


def _category(name: str, column: pa.Array) -> Feature:
    counted = pc.value_counts(texts_of(column).drop_null())
    pairs = sorted(
        ((item["values"], item["counts"]) for item in counted.to_pylist()),
        key=lambda pair: (-pair[1], pair[0]),
    )
    if len(pairs) > MAX_LEVELS:
        return Feature(name, "text", (_unmeasured("missing"),))
    common = [level for level, _ in pairs[:LEVELS]]
    rare = tuple(sorted(level for level, _ in pairs[LEVELS:]))
    indicators = [*(_unmeasured("level", level) for level in common)]
    if rare:
        indicators.append(_unmeasured("other"))
    indicators += [_unmeasured("missing"), _unmeasured("unseen")]
    return Feature(name, "category", tuple(indicators), rare)


def _unmeasured(what: IndicatorKind, value: float | str | None = None) -> Indicator:
    return Indicator(what, value, 0.0, 0.0, 1.0)


def _measured(shape: Feature, column: pa.ChunkedArray, strict: Strictness) -> Feature:
    whole = column.combine_chunks()
    size = _measuring_block(len(whole), strict.block_rows)
    starts = range(0, len(whole) - size + 1, size)
    blocks = [count_indicators(shape, whole.slice(start, size)) for start in starts]
    had, asked = count_indicators(shape, whole)
    indicators = []
    for at, indicator in enumerate(shape.indicators):
        rows = int(asked[at])
        share = int(had[at]) / rows if rows else 0.0
        parts = [(int(h[at]), int(a[at])) for h, a in blocks if a[at]]
        dispersion = _dispersion(parts, share)
        least = QUALITY_CHANGE if indicator.what in QUALITY else strict.smallest_change
        noise = (dispersion * share * (1 - share) / rows) ** 0.5 if rows else 0.0
        tolerance = max(least, TOLERANCE_DEVIATIONS * noise)
        indicators.append(Indicator(indicator.what, indicator.value, share, tolerance, dispersion))
    return replace(shape, indicators=tuple(indicators))


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
