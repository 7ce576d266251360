"""Captured rows become the calls that callers made, within limits; what is damaged is set aside."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loopwright_common.storage.captured_tables import table_to_bytes, without_redacted
from loopwright_deployer.staging.evaluation import captured_reader
from loopwright_deployer.staging.evaluation.captured_reader import CapturedCalls
from loopwright_deployer.staging.evaluation.recorded_calls import (
    MAX_CALLS,
    MAX_ROWS_OF_A_CALL,
    InputTypes,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS: InputTypes = {"age": ("INT64", [-1]), "job": ("BYTES", [-1]), "since": ("BYTES", [-1])}


def captured(
    path: Path, ids: list[str], redacted: list[str] | None = None, **columns: Any
) -> dict[str, Path]:
    """A file of the rows, a second after the other, by a digest."""
    times = pa.array([START + timedelta(seconds=n) for n in range(len(ids))], pa.timestamp("us"))
    inputs = {f"input.{name}": values for name, values in columns.items()}
    table = pa.table({"prediction_id": ids, "time": times.cast(pa.timestamp("us", tz="UTC")), **inputs})  # noqa: E501  # fmt: skip
    path.write_bytes(table_to_bytes(without_redacted(table, redacted or [])))
    return {f"sha256:{path.name}": path}


def read(
    files: dict[str, Path], inputs: InputTypes, arrays: dict[str, Path] | None = None
) -> CapturedCalls:
    found = CapturedCalls(inputs, arrays or {})
    found.read(files)
    return found


def test_rows_of_a_call_are_one_call_and_the_newest_comes_first(tmp_path: Path) -> None:
    since = pa.array([None, None, START], pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    old = captured(tmp_path / "old", ["a.0"], age=[1], job=["x"])
    new = captured(
        tmp_path / "new", ["b.0", "c.0", "c.1"], ["job_title"], age=[2, 3, 4],
        job=["nurse", None, "clerk"], since=since,
    )  # fmt: skip

    found = read({**new, **old}, COLUMNS)

    assert [(call.id, call.rows) for call in found.calls] == [("c", 2), ("b", 1), ("a", 1)]
    newest = found.calls[0]
    assert newest.inputs == {
        "age": [3, 4], "job": [None, "clerk"], "since": [None, "2026-01-01T00:00:00"],
    }  # fmt: skip
    assert (newest.at, set(newest.redacted)) == ("2026-01-01T00:00:02+00:00", {"job_title"})
    assert found.calls[2].inputs.keys() == {"age", "job"}


def test_what_is_no_number_is_null_and_columns_of_others_are_not_taken(tmp_path: Path) -> None:
    files = captured(tmp_path / "f", ["a.0"], rate=pa.array([float("nan")]), age_0=[1])

    found = read(files, {"rate": ("FP64", [-1]), "age": ("INT64", [-1])})

    assert found.calls[0].inputs == {"rate": [None]}


def test_the_cells_of_a_small_tensor_have_its_shape(tmp_path: Path) -> None:
    cells: dict[str, Any] = {f"x_{n}": [float(n), float(n + 10)] for n in range(12)}
    files = captured(tmp_path / "f", ["a.0", "a.1"], **cells)

    shaped, open_ended, other = (
        read(files, {"x": ("FP32", shape)}).calls[0].inputs["x"]
        for shape in ([-1, 3, 4], [-1, -1, 4], [-1, 5])
    )

    assert shaped == open_ended
    assert np.array_equal(shaped[1], np.arange(10, 22).reshape(3, 4))
    assert other[0] == list(range(12))


def test_large_inputs_are_wanted_and_then_taken_by_row(tmp_path: Path) -> None:
    image = np.arange(2 * 100, dtype=np.float32).reshape(2, 10, 10)
    np.save(tmp_path / "one.npy", image)
    files = captured(
        tmp_path / "f", ["a.0", "a.1", "b.0", "c.0"],
        image=["sha256:1", "sha256:1", "sha256:2", None],
    )  # fmt: skip
    inputs: InputTypes = {"image": ("FP32", [-1, 10, 10])}

    first = read(files, inputs)
    second = read(files, inputs, {"sha256:1": tmp_path / "one.npy", "sha256:2": tmp_path / "f"})

    assert (first.calls, first.wanted) == ([], ["sha256:2", "sha256:1"])
    assert [call.id for call in second.calls] == ["a"]
    assert np.array_equal(second.calls[0].inputs["image"], image)
    assert second.set_aside[0] == "call c: an input of it was not kept"
    assert second.set_aside[1].startswith("call b: ")


def test_a_damaged_file_is_set_aside_and_the_others_are_read(tmp_path: Path) -> None:
    sound = captured(tmp_path / "sound", ["a.0"], age=[1])
    damaged = captured(tmp_path / "damaged", ["b.0"], age=[2])
    (tmp_path / "damaged").write_bytes((tmp_path / "damaged").read_bytes()[:-20])
    other = {"sha256:other": tmp_path / "other"}
    (tmp_path / "other").write_bytes(table_to_bytes(pa.table({"y": [1]})))

    found = read({**damaged, **other, **sound}, COLUMNS)

    assert [call.id for call in found.calls] == ["a"]
    assert [each.split(":")[1] for each in found.set_aside] == ["damaged", "other"]


def test_calls_rows_and_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = captured(tmp_path / "many", [f"{n}.0" for n in range(600)], age=[1] * 600)
    long = captured(tmp_path / "long", [f"a.{n}" for n in range(600)], age=list(range(600)))
    texts = captured(tmp_path / "texts", [f"{n}.0" for n in range(9)], job=["x" * 1000] * 9)

    assert len(read(many, COLUMNS).calls) == MAX_CALLS
    assert read(long, COLUMNS).calls[0].inputs["age"] == list(range(MAX_ROWS_OF_A_CALL))
    monkeypatch.setattr(captured_reader, "MAX_BYTES", 2500)
    assert [call.id for call in read(texts, COLUMNS).calls] == ["8", "7", "6"]
    monkeypatch.setattr(captured_reader, "_MAX_UNPACKED", 1000)
    assert read(texts, COLUMNS).set_aside[0].startswith("sha256:texts: its rows take ")
