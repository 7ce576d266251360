"""Profiles of columns as they come: mixed types, missing values, too many levels."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from loopwright_monitor.detectors.indicator_counts import count_indicators
from loopwright_monitor.detectors.profile import Feature, Profile, Strictness
from loopwright_monitor.references.indicators import measure_profile

STRICT = Strictness(smallest_change=0.05, false_alarm_rows=1_000_000, block_rows=64)


def profiled(column: object) -> Feature:
    table = pa.table({"x": column})
    return measure_profile(table, ["x"], STRICT, "test").features[0]


def shares(feature: Feature) -> dict[tuple[str, object], float]:
    return {(w.what, w.value): round(w.share, 3) for w in feature.indicators}


def test_numbers_are_watched_at_their_quantiles_and_edges() -> None:
    feature = profiled(np.arange(1600.0))
    found = shares(feature)
    assert feature.kind == "number"
    assert sum(what == "cut" for what, _ in found) == 15
    assert found["cut", 799.0] == 0.5
    assert ("below", 0.0) in found
    assert ("above", 1599.0) in found


def test_missing_numbers_have_a_share_and_leave_the_cuts_alone() -> None:
    values = [None if i % 4 == 0 else float(i % 2) for i in range(400)]
    found = shares(profiled(pa.array(values, pa.float64())))
    assert found["missing", None] == 0.25
    assert found["cut", 0.0] == 0.333


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, False] * 50),
        pa.array(["a", "b"] * 50),
        pa.array(["a", "b"] * 50).dictionary_encode(),
        pa.array(["a", "b"] * 50, pa.large_string()),
    ],
)
def test_texts_and_booleans_are_categories(column: pa.Array) -> None:
    feature = profiled(column)
    assert feature.kind == "category"
    assert [w.share for w in feature.indicators if w.what == "level"] == [0.5, 0.5]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2] * 50, pa.int8()),
        pa.array([1.5, None] * 50, pa.float32()),
        pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 100),
        pa.array([np.nan, 1.0] * 50),
    ],
)
def test_integers_floats_and_times_are_numbers(column: pa.Array) -> None:
    assert profiled(column).kind == "number"


def test_a_constant_keeps_one_cut_so_that_its_end_is_seen() -> None:
    assert shares(profiled([-1] * 200))["cut", -1.0] == 1.0


def test_rare_levels_share_one_indicator() -> None:
    values = [f"level{i}" for i in range(30) for _ in range(10 if i < 24 else 2)]
    feature = profiled(values)
    assert len(feature.rare) == 6
    assert shares(feature)["other", None] == round(12 / 252, 3)


def test_a_column_of_free_text_is_watched_for_missing_values_only() -> None:
    table = pa.table({"x": [f"text {i}" for i in range(2000)]})
    profile = measure_profile(table, ["x"], STRICT, "test")
    assert [w.what for w in profile.features[0].indicators] == ["missing"]
    assert "over 1000 levels" in profile.notes[0]


def test_a_column_of_another_type_is_left_out_and_said_so() -> None:
    table = pa.table({"x": [[1, 2]] * 10, "y": [1.0] * 10})
    profile = measure_profile(table, ["x", "y"], STRICT, "test")
    assert [feature.name for feature in profile.features] == ["y"]
    assert "x is not watched" in profile.notes[0]


def test_an_all_missing_column_expects_missing_values() -> None:
    assert shares(profiled(pa.nulls(100, pa.float64())))["missing", None] == 1.0


def test_numbers_of_another_width_count_the_same() -> None:
    feature = profiled([1, 2, 3, 4] * 25)
    whole, _ = count_indicators(feature, pa.array([1, 2, 2, 4]))
    floating, _ = count_indicators(feature, pa.array([1.0, 2.0, 2.0, 4.0]))
    assert whole.tolist() == floating.tolist()


def test_a_profile_survives_its_json_with_the_same_digest() -> None:
    table = pa.table({"x": np.arange(100.0), "c": ["a", None] * 50})
    profile = measure_profile(table, ["x", "c"], STRICT, "test")
    again = Profile.from_json(profile.to_json())
    assert again == profile
    assert again.digest == profile.digest
