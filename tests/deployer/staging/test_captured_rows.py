"""Captured rows are found by what the bus says, and what is slow or damaged stops nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.events import CapturedFile, RowsCaptured
from loopwright_common.storage.captured_tables import table_to_bytes
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.staging import captured_rows
from loopwright_deployer.staging.captured_rows import CapturedRows
from loopwright_deployer.staging.evaluation.recorded_calls import InputTypes, RecordedCalls
from tests.deployer.builders import MODEL, MODEL_ID, event_of
from tests.deployer.controllers import nothing_captured
from tests.deployer.staging.scorers import scorer_command

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGE: InputTypes = {"age": ("INT64", [-1])}


class SlowStore(FilesystemStore):
    """One whose objects named `slow` never come."""

    slow: frozenset[str] = frozenset()

    async def stream(self, digest: str) -> AsyncIterator[bytes]:
        if digest in self.slow:
            await asyncio.Event().wait()
        async for chunk in super().stream(digest):
            yield chunk


@pytest.fixture
def slow_store(tmp_path: Path) -> SlowStore:
    return SlowStore(tmp_path / "artifacts")


async def kept(store: FilesystemStore, name: str, **inputs: Any) -> str:
    """One call's row in the store, by its digest."""
    columns = {f"input.{each}": values for each, values in inputs.items()}
    table = pa.table(
        {"prediction_id": [f"{name}.0"], "time": pa.array([NOW], pa.timestamp("us", "UTC")), **columns}  # noqa: E501
    )  # fmt: skip
    return (await store.put(table_to_bytes(table))).digest


def told(*digests: str) -> TableReader[RowsCaptured]:
    table = nothing_captured()
    files = [CapturedFile(digest=digest, rows=1) for digest in digests]
    data = RowsCaptured(model_id=MODEL_ID, model=MODEL, captured=1, until=NOW, files=files)
    table.rows[MODEL_ID] = event_of(data)
    return table


async def read(
    directory: Path, store: FilesystemStore, *digests: str, inputs: InputTypes = AGE
) -> RecordedCalls:
    rows = CapturedRows(store, told(*digests), scorer_command(directory))
    found = await rows.read(MODEL_ID, inputs)
    assert not list((directory / "scratch").iterdir())
    return found


async def test_what_is_damaged_gone_slow_or_too_large_is_set_aside_with_its_reason(
    tmp_path: Path, slow_store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, damaged, slow = [await kept(slow_store, n, age=[3]) for n in ("s", "d", "w")]
    large, gone = (await slow_store.put(bytes(9 << 20))).digest, "sha256:" + "0" * 64
    (tmp_path / "artifacts" / slow_store.location(damaged)).write_bytes(b"PAR1")
    slow_store.slow = frozenset([slow])
    monkeypatch.setattr(captured_rows, "_FETCHING_SECONDS", 2.0)

    found = await read(tmp_path, slow_store, damaged, large, slow, gone, sound)

    assert [(call.id, call.inputs) for call in found.calls] == [("s", {"age": [3]})]
    reasons = {each.partition(": ")[0]: each.partition(": ")[2] for each in found.set_aside}
    assert reasons.keys() == {damaged, large, slow, gone}
    assert "is damaged: its bytes have" in reasons[damaged]
    assert reasons[large] == "more than 8388608 bytes"
    assert reasons[slow] == "not there within 2 s"


async def test_all_objects_together_are_bounded(
    tmp_path: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [await kept(store, f"n{number}", age=[number]) for number in range(20)]
    monkeypatch.setattr(captured_rows, "_MOST_BYTES", 1)

    found = await read(tmp_path, store, *digests)

    assert 1 <= len(found.calls) <= captured_rows._AT_ONCE
    assert found.set_aside[-1].endswith("beyond 1 bytes of newer ones")


async def test_large_inputs_are_fetched_beside_the_rows(
    tmp_path: Path, store: FilesystemStore
) -> None:
    image = np.arange(100.0).reshape(1, 10, 10)
    np.save(tmp_path / "image.npy", image)
    array = (await store.put((tmp_path / "image.npy").read_bytes())).digest
    digest = await kept(store, "a", image=[array])

    found = await read(tmp_path, store, digest, inputs={"image": ("FP64", [-1, 10, 10])})

    assert np.array_equal(found.calls[0].inputs["image"], image)


async def test_a_file_that_ends_its_reader_is_told(
    tmp_path: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await kept(store, "a", age=[3])
    dies = ("python3", "-c", "import os; os.abort()")
    monkeypatch.setattr(captured_rows, "CAPTURED_READER", dies)

    found = await read(tmp_path, store, digest)

    assert found.calls == []
    assert found.set_aside[0].startswith("the rows were not read: ")


async def test_nothing_is_read_where_nothing_is_told(
    tmp_path: Path, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = CapturedRows(store, nothing_captured(), scorer_command(tmp_path))
    unread = nothing_captured()
    unread.ready.clear()
    monkeypatch.setattr(captured_rows, "_READY_SECONDS", 0.01)
    early = CapturedRows(store, unread, scorer_command(tmp_path))

    assert await nothing.read(MODEL_ID, AGE) == RecordedCalls([])
    assert (await early.read(MODEL_ID, AGE)).set_aside == [
        "what is captured could not be learnt from the bus in time"
    ]
