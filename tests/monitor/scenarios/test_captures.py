"""Rows and labels as they are kept, joined and measured."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from loopwright_common.storage.captured_dataset import materialise
from loopwright_monitor.captures.snapshot import MERGE_FROM
from loopwright_monitor.settings import MonitorSettings
from loopwright_monitor.worker import once_preloaded, prune_before
from tests.monitor.harness import START, MonitorHarness

THIRTY_DAYS = timedelta(days=30)
ROWS: dict[str, Sequence[Any]] = {"age": [30.0, 40.0, 50.0], "contact": ["a", "b", None]}


async def pinned(harness: MonitorHarness, directory: Path) -> list[dict[str, Any]]:
    """The captured rows as a trainer gets them."""
    manifest = await harness.post("/v1/captured/bank/manifest")
    count = await materialise(harness.store, manifest["digest"], directory)
    assert count == manifest["rows"]
    return list(pq.read_table(directory / "captured.parquet").to_pylist())


async def test_captured_rows_carry_inputs_outputs_and_labels(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    ids = await harness.score(ROWS, [0.1, 0.9, 0.3])
    await harness.label(ids[:2], ["no", "yes"])
    await harness.settle()

    rows = await pinned(harness, tmp_path)

    assert [row["prediction_id"] for row in rows] == ids
    assert [row["label"] for row in rows] == ["no", "yes", None]
    assert rows[1]["input.age"] == 40.0
    assert rows[1]["output.score"] == 0.9
    assert (rows[1]["model"], rows[1]["version"], rows[1]["arm"]) == ("bank", 1, "live")


async def test_labels_before_their_rows_are_kept_and_joined(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    early = [f"p{i:07}.0" for i in range(3)]
    await harness.label(early, ["no", "yes", "no"])
    await harness.settle()
    await harness.score(ROWS, [0.1, 0.9, 0.3])
    await harness.settle()

    assert [row["label"] for row in await pinned(harness, tmp_path)] == ["no", "yes", "no"]
    captured = await harness.get("/v1/captured/bank")
    assert (captured["rows"], captured["labelled"]) == (3, 3)


async def test_labels_before_their_rows_are_joined_even_when_they_were_filed(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    await harness.label(["p0000000.0"], ["no"])
    await harness.settle()
    await pinned(harness, tmp_path / "before")
    await harness.score(ROWS)
    await harness.settle()

    assert (await pinned(harness, tmp_path / "after"))[0]["label"] == "no"
    assert (await harness.get("/v1/captured/bank"))["labelled"] == 1


async def test_what_measures_is_imported_with_the_first_label_and_then_at_each_start(
    harness: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def imported_at_start() -> bool:
        monkeypatch.delitem(sys.modules, "river.drift", raising=False)
        await once_preloaded(harness.settle, harness.database)()
        return "river.drift" in sys.modules

    ids = await harness.score(ROWS)
    assert not await imported_at_start()
    await harness.label(ids[:1], ["no"])
    assert await imported_at_start()
    assert (await harness.get("/v1/models/bank"))["labelled"] == 1
    assert await imported_at_start()


async def test_a_label_said_twice_counts_once_and_a_correction_replaces_it(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    ids = await harness.score(ROWS, [0.1, 0.9, 0.3])
    await harness.label(ids, ["no", "no", "no"], second=1)
    await harness.label(ids, ["no", "no", "no"], second=1)
    await harness.label(ids[:1], ["yes"], second=5)
    await harness.label(ids[:1], ["no"], second=2)
    await harness.settle()

    assert (await pinned(harness, tmp_path))[0]["label"] == "yes"
    shown = await harness.get("/v1/models/bank")
    assert shown["labelled"] == 3
    assert shown["performance"][0]["labelled"] == 3
    assert shown["performance"][0]["mean_label"] == pytest.approx(1 / 3)


async def test_a_label_taken_back_no_longer_counts(harness: MonitorHarness, tmp_path: Path) -> None:
    ids = await harness.score(ROWS)
    await harness.label(ids, ["no", "no", "no"], second=1)
    await harness.label(ids[:1], [None], second=2)
    await harness.settle()

    assert (await pinned(harness, tmp_path))[0]["label"] is None
    assert (await harness.get("/v1/captured/bank"))["labelled"] == 2


async def test_labels_thirty_days_late_count(harness: MonitorHarness, tmp_path: Path) -> None:
    ids = await harness.score(ROWS, [0.1, 0.9, 0.3])
    await harness.settle()
    await prune_before(harness.database, START + THIRTY_DAYS - MonitorSettings().label_horizon)
    await harness.label(ids, ["no", "yes", "no"], second=29 * 86_400)
    await harness.settle()

    assert (await harness.get("/v1/models/bank"))["performance"][0]["labelled"] == 3
    assert [row["label"] for row in await pinned(harness, tmp_path)] == ["no", "yes", "no"]


async def test_labels_past_the_horizon_still_reach_the_captured_rows(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    ids = await harness.score(ROWS)
    await harness.settle()
    await prune_before(harness.database, START + THIRTY_DAYS)
    await harness.label(ids[:1], ["yes"], second=60 * 86_400)
    await harness.settle()

    assert (await harness.get("/v1/models/bank"))["performance"] == []
    assert (await pinned(harness, tmp_path))[0]["label"] == "yes"


async def test_rows_of_several_policies_are_captured_with_what_each_kept(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    await harness.score(ROWS)
    await harness.score({"age": ROWS["age"]}, redacted=("contact",))
    await harness.settle()

    rows = await pinned(harness, tmp_path)
    assert [row["input.age"] for row in rows] == [30.0, 40.0, 50.0] * 2
    assert [row["input.contact"] for row in rows] == ["a", "b", None, None, None, None]


async def test_labels_may_name_the_clients_own_request(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    ids = await harness.score(ROWS)
    await harness.label([f"r-{ids[1]}"], ["yes"], kind="request")
    await harness.settle()

    assert [row["label"] for row in await pinned(harness, tmp_path)] == [None, "yes", None]


async def test_shadows_and_failed_rows_are_not_captured(harness: MonitorHarness) -> None:
    await harness.score(ROWS, arm="shadow")
    await harness.score(ROWS, error=[None, "broken", None])
    await harness.settle()

    assert (await harness.get("/v1/captured/bank"))["rows"] == 2


async def test_many_small_files_are_merged_and_older_manifests_still_read(
    harness: MonitorHarness, tmp_path: Path
) -> None:
    for _ in range(10):
        await harness.score(ROWS)
    await harness.settle()
    old = await harness.post("/v1/captured/bank/manifest")
    for _ in range(10):
        await harness.score(ROWS)
    await harness.settle()
    new = await harness.post("/v1/captured/bank/manifest")

    assert len((await harness.get("/v1/captured/bank"))["files"]) == 1
    assert await materialise(harness.store, old["digest"], tmp_path) == 30
    assert await materialise(harness.store, new["digest"], tmp_path) == 60


async def test_rows_whose_types_of_a_column_conflict_are_refused_by_its_name(
    harness: MonitorHarness,
) -> None:
    for _ in range(MERGE_FROM - 1):
        await harness.score({"age": [30.0]})
    await harness.score({"age": ["old"]})
    await harness.settle()

    problem = await harness.post("/v1/captured/bank/manifest", status=422)

    assert problem["detail"].startswith("column input.age is double in some rows and string in")
    assert problem["errors"][0]["field"] == "input.age"


async def test_pinning_the_same_rows_again_gives_the_same_digest(harness: MonitorHarness) -> None:
    await harness.score(ROWS)
    await harness.settle()
    first = await harness.post("/v1/captured/bank/manifest")
    assert (await harness.post("/v1/captured/bank/manifest"))["digest"] == first["digest"]


async def test_realised_performance_is_told_as_labels_come(harness: MonitorHarness) -> None:
    ids = await harness.score({"age": [30.0] * 100}, [0.25] * 100)
    await harness.label(ids, ["yes"] * 25 + ["no"] * 75)
    await harness.settle()

    [event] = await harness.told("performance-measured")
    told = event.data
    assert (told.version, told.labelled) == (1, 100)
    assert told.log_loss == pytest.approx(0.5623, abs=1e-4)
    assert told.brier == pytest.approx(0.1875)
    assert (told.mean_label, told.mean_score) == (0.25, 0.25)


async def test_a_label_event_that_does_not_fit_itself_is_a_dead_letter(
    harness: MonitorHarness,
) -> None:
    await harness.label(["p1.0", "p2.0"], ["no"])
    await harness.settle()
    assert "ground-truth-logged: 2 ids, 1 labels" in (await harness.dead_letters())[0]


async def test_an_unknown_model_is_named(harness: MonitorHarness) -> None:
    problem = await harness.post("/v1/captured/nobody/manifest", status=404)
    assert problem["detail"].startswith("no model 'nobody' is known to the monitor: ")
