"""Rows, labels and manifests of two monitors at once: none is lost, and none counts twice."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import UnavailableError
from loopwright_common.storage.captured_dataset import materialise
from loopwright_monitor.captures import capture_writer, service, snapshot
from loopwright_monitor.store.tables import label_files
from tests.monitor.harness import MonitorHarness
from tests.monitor.replicas import Pair, step_together

Work = Callable[[UnitOfWork], Awaitable[None]]
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@ON_POSTGRESQL
@pytest.mark.parametrize("first", ["rows", "labels"])
async def test_rows_and_labels_that_come_at_once_are_joined(pair: Pair, first: str) -> None:
    """As when one member has the rows of a model and another its labels."""
    one, two = pair
    await one.score({"age": [30.0] * 4})
    await one.consume("capture")
    ids = await one.score({"age": [30.0] * 4})
    await one.label(ids, ["no"] * 4)
    [_, batch] = await one.told("inference-logged")
    [truth] = await one.told("ground-truth-logged")
    kept = await capture_writer.write_capture(one.store, batch)
    works: list[Work] = [
        lambda uow: service.record_capture(batch, kept, uow),
        lambda uow: service.record_labels(truth, uow),
    ]

    await within_each_other(pair, works if first == "rows" else works[::-1])

    captured = await two.get("/v1/captured/bank")
    assert (captured["rows"], captured["labelled"]) == (8, 4)


@ON_POSTGRESQL
async def test_no_label_is_left_out_by_a_manifest_pinned_before_its_transaction_ends(
    pair: Pair,
) -> None:
    one, two = pair
    await one.score({"age": [30.0] * 2})
    await one.consume("capture")
    for each in ("p9.0", "p9.1"):
        await one.label([each], ["no"])
    early, late = await one.told("ground-truth-logged")

    async def label_and_prepare() -> snapshot.SnapshotPlan:
        async with two.database.unit_of_work() as uow:
            await service.record_labels(late, uow)
        return await snapshot.prepare(two.database, two.store, "m1", trained=False)

    async with one.database.unit_of_work() as uow:
        await service.record_labels(early, uow)
        other = asyncio.create_task(label_and_prepare())
        await asyncio.sleep(0.3)
    plan = await other
    async with two.database.unit_of_work() as uow:
        assert await snapshot.commit(uow, plan)
    await one.post("/v1/captured/bank/manifest")

    assert sum(await rows_of(one, label_files)) == 2


async def within_each_other(pair: Pair, works: Sequence[Work]) -> None:
    """The second begins, on another replica, while the transaction of the first is open."""

    async def do_second() -> None:
        async with pair[1].database.unit_of_work() as uow:
            await works[1](uow)

    async with pair[0].database.unit_of_work() as uow:
        await works[0](uow)
        second = asyncio.create_task(do_second())
        await asyncio.sleep(0.3)
    await second


async def rows_of(harness: MonitorHarness, table: sa.Table) -> list[int]:
    async with harness.database.read() as connection:
        return list((await connection.scalars(sa.select(table.c.rows))).all())


async def test_of_two_manifests_made_at_once_the_later_is_made_anew(
    pair: Pair, tmp_path: Path
) -> None:
    one, two = pair
    for _ in range(20):
        await one.label(await one.score({"age": [30.0] * 5}), ["no"] * 5)
    await one.consume("capture")
    plans = [await snapshot.prepare(h.database, h.store, "m1", trained=False) for h in pair]

    settled = []
    for plan in plans:
        async with two.database.unit_of_work() as uow:
            settled.append(await snapshot.commit(uow, plan))

    assert settled == [True, False]
    last = await two.post("/v1/captured/bank/manifest")
    assert await materialise(one.store, last["digest"], tmp_path) == last["rows"] == 100
    assert sum(await rows_of(one, label_files)) == 100


async def test_manifests_pinned_at_once_hold_each_row_and_label_once(
    pair: Pair, tmp_path: Path
) -> None:
    one, two = pair
    for _ in range(20):
        await one.label(await one.score({"age": [30.0] * 5}), ["no"] * 5)

    async def pin(harness: MonitorHarness) -> None:
        for _ in range(3):
            await harness.post("/v1/captured/bank/manifest")

    await one.consume("lifecycle")
    async with one.joined("capture") as seat:
        await one.consumers["capture"].step(seat, wait=0)
        await asyncio.gather(pin(one), pin(two), step_together((one, seat), name="capture"))

    last = await one.post("/v1/captured/bank/manifest")
    assert (last["rows"], last["labelled"]) == (100, 100)
    assert await materialise(one.store, last["digest"], tmp_path) == 100
    assert sum(await rows_of(one, label_files)) == 100


async def test_while_the_store_is_away_rows_wait_on_the_bus(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    await one.score({"age": [30.0] * 64})
    put, away = one.store.put, True

    async def put_when_there(content: Any) -> Any:
        if away:
            raise UnavailableError("the store is away")
        return await put(content)

    monkeypatch.setattr(one.store, "put", put_when_there)
    capturing = asyncio.create_task(one.consume("capture"))
    await asyncio.sleep(0.3)
    assert await one.parked() == 0
    assert not capturing.done()
    away = False
    await capturing

    assert (await one.get("/v1/captured/bank"))["rows"] == 64
