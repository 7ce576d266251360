"""The e-detector on streams with known truth: silent without change, quick with one."""

import gzip
from importlib.resources import files
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from loopwright_monitor.detectors.betting import build_bets
from loopwright_monitor.detectors.e_process import EvidenceProcess
from loopwright_monitor.detectors.evidence import discoveries
from loopwright_monitor.detectors.profile import Profile, Strictness
from loopwright_monitor.references.builder import build_reference
from loopwright_monitor.references.indicators import measure_profile

STRICT = Strictness(smallest_change=0.02, false_alarm_rows=1_000_000, block_rows=256)


def normal(rows: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> pa.Table:
    drawn = np.random.default_rng(seed).normal(shift, scale, rows)
    return pa.table({"x": drawn})


def reference(rows: int = 20_000) -> Profile:
    return measure_profile(normal(rows, 0), ["x"], STRICT, "test")


def first_alarm(
    profile: Profile, stream: pa.Table, group: str = "data", step: int = 1024
) -> int | None:
    """Rows until the first alarm of the group."""
    detector = EvidenceProcess(build_bets(profile))
    for start in range(0, stream.num_rows, step):
        rows = stream.slice(start, step)
        for alarm in detector.update(rows, np.zeros(rows.num_rows, np.int64)):
            if alarm.group == group:
                return alarm.rows
    return None


def test_a_million_rows_without_change_raise_no_alarm() -> None:
    profile = reference()
    for seed in range(1, 5):
        assert first_alarm(profile, normal(250_000, seed), step=4096) is None


@pytest.mark.parametrize(
    ("shift", "scale", "rows"),
    [(0.5, 1.0, 512), (0.3, 1.0, 1600), (0.2, 1.0, 6400), (0.0, 1.5, 1024)],
)
def test_a_change_is_found_within_its_rows(shift: float, scale: float, rows: int) -> None:
    profile = reference(100_000)
    for seed in range(1, 6):
        found = first_alarm(profile, normal(rows, seed, shift, scale), step=256)
        assert found is not None


def test_a_change_below_the_tolerance_is_let_be() -> None:
    """A shift of 0.04 standard deviations moves no share by more than 0.016."""
    assert first_alarm(reference(100_000), normal(100_000, 1, shift=0.04), step=4096) is None


def test_of_two_hundred_features_only_the_drifted_are_told() -> None:
    rng = np.random.default_rng(1)
    names = [f"x{i}" for i in range(200)]
    before = pa.table({name: rng.normal(size=5000) for name in names})
    after = pa.table(
        {name: rng.normal(0.6 if i < 20 else 0.0, size=4096) for i, name in enumerate(names)}
    )
    detector = EvidenceProcess(build_bets(measure_profile(before, names, STRICT, "test")))

    alarms = detector.update(after, np.zeros(after.num_rows, np.int64))

    assert {feature.name for feature in alarms[0].features} <= set(names[:20])
    proven = detector.evidence("data")[:20]
    assert {feature.name for feature in proven} == set(names[:20])


def test_the_alarm_says_what_changed_from_what_to_what_and_since_when() -> None:
    before = pa.table({"contact": (["cellular"] * 6 + ["unknown"] * 94) * 20})
    profile = measure_profile(before, ["contact"], STRICT, "test")
    calm = pa.table({"contact": (["cellular"] * 6 + ["unknown"] * 94) * 26})
    after = pa.table({"contact": (["cellular"] * 7 + ["unknown"] * 9) * 60})
    detector = EvidenceProcess(build_bets(profile), origin=100)
    detector.update(calm.slice(0, 2560), np.arange(2560))

    alarms = detector.update(after, np.arange(2560, 3520))

    told = alarms[0].features[0]
    assert told.sentence == "contact=cellular 6.0 % -> 44 %"
    assert (told.since_row, told.since_time) == (100 + 2560, 2560)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ([None] * 512, "x missing 0 % -> 100 %"),
        ([np.inf] * 512, "x not a finite number 0 % -> 100 %"),
        ([9.9] * 512, "x above 1 0 % -> 100 %"),
        (["broken"] * 512, "x not a finite number 0 % -> 100 %"),
    ],
)
def test_broken_numbers_are_a_matter_of_quality(column: list[object], sentence: str) -> None:
    before = pa.table({"x": np.linspace(0, 1, 4000)})
    detector = EvidenceProcess(build_bets(measure_profile(before, ["x"], STRICT, "test")))

    alarms = detector.update(pa.table({"x": column}), np.zeros(512, np.int64))

    assert alarms[0].group == "quality"
    assert alarms[0].features[0].sentence == sentence


def test_a_column_that_no_longer_comes_is_missing() -> None:
    detector = EvidenceProcess(build_bets(reference()))
    alarms = detector.update(pa.table({"other": [1.0] * 512}), np.zeros(512, np.int64))
    assert [(a.group, a.features[0].sentence) for a in alarms] == [
        ("quality", "x missing 0 % -> 100 %")
    ]


def test_a_column_left_out_on_purpose_says_nothing_however_long() -> None:
    profile = measure_profile(normal(20_000, 0), ["x"], Strictness(0.05, 1000, 16), "test")
    detector = EvidenceProcess(build_bets(profile))
    rows = pa.table({"other": np.zeros(4000)})

    alarms = [detector.update(rows, np.zeros(4000, np.int64), ["x"]) for _ in range(10)]

    assert alarms == [[]] * 10
    assert detector.evidence("data")[0].evidence <= 0


def test_unseen_levels_are_quality_and_no_drift_of_the_known_ones() -> None:
    before = pa.table({"job": ["a", "b"] * 2000})
    after = pa.table({"job": ["a", "b", "new"] * 500})
    detector = EvidenceProcess(build_bets(measure_profile(before, ["job"], STRICT, "test")))

    alarms = detector.update(after, np.zeros(1500, np.int64))

    assert [alarm.group for alarm in alarms] == ["quality"]


def test_fetch_sizes_and_restarts_change_no_bit_of_the_state() -> None:
    profile, stream = reference(), normal(3000, 2, shift=0.5)
    times = np.arange(stream.num_rows)
    states, alarms = set(), set()
    for step in (1, 7, 500, 3000):
        bets = build_bets(Profile.from_json(profile.to_json()))
        state, raised = EvidenceProcess(bets).to_bytes(), []
        for start in range(0, stream.num_rows, step):
            detector = EvidenceProcess.from_bytes(bets, state)
            raised += detector.update(stream.slice(start, step), times[start : start + step])
            state = detector.to_bytes()
        states.add(state)
        alarms.add(tuple((alarm.group, alarm.block, alarm.features) for alarm in raised))
    assert len(states) == len(alarms) == 1


def test_state_does_not_grow_with_the_rows() -> None:
    detector = EvidenceProcess(build_bets(reference()))
    before = len(detector.to_bytes())
    detector.update(normal(50_000, 1), np.zeros(50_000, np.int64))
    assert len(detector.to_bytes()) < before + 100


def test_discoveries_follow_e_d_bh() -> None:
    limit = 10.0
    assert discoveries([50.0, 9.0, 1.0], limit) == 1
    assert discoveries([50.0, 11.0, 1.0], limit) == 2
    assert discoveries([10.5, 1.0, 1.0], limit) == 1


# ---- ordered real data -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank() -> pa.Table:
    packed = files("loopwright").joinpath("demo/data/bank-marketing.csv.gz")
    table = pyarrow.csv.read_csv(BytesIO(gzip.decompress(packed.read_bytes())))
    return table.drop_columns(["duration", "day", "month", "y"])


BANK = Strictness(smallest_change=0.05, false_alarm_rows=1_000_000, block_rows=256)


def test_the_bank_drifts_and_its_shuffled_control_does_not(bank: pa.Table) -> None:
    shuffled = bank.take(np.random.default_rng(1).permutation(bank.num_rows))
    alarms = []
    for table in (bank, shuffled):
        profile = build_reference(table.slice(0, 7200), bank.column_names, BANK, "test")
        alarms.append(
            [first_alarm(profile, table.slice(9000), group) for group in ("data", "quality")]
        )
    assert alarms[1] == [None, None]
    assert alarms[0][0] is not None
    assert alarms[0][1] is not None


def test_over_dispersion_of_the_ordered_reference_tempers_the_evidence(bank: pa.Table) -> None:
    ordered = measure_profile(bank.slice(0, 15_000), ["contact"], BANK, "test")
    cellular = next(w for w in ordered.features[0].indicators if w.value == "cellular")
    assert cellular.dispersion > 100
    assert cellular.tolerance > BANK.smallest_change


def test_a_reference_that_would_alarm_by_itself_gets_wider_tolerances_and_says_so() -> None:
    rows = np.concatenate([normal(6000, 1)["x"], normal(2000, 2, shift=1.0)["x"]])
    profile = build_reference(pa.table({"x": rows}), ["x"], STRICT, "test")
    assert any("x: tolerance widened" in note for note in profile.notes)
