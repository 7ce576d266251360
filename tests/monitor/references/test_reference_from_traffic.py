"""References made of first rows: what holds when champions change while one is made."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from loopwright_common.database.database import Database
from loopwright_common.database.leases import Lease
from loopwright_monitor.references import reference_from_traffic
from loopwright_monitor.references.builder import build_reference
from loopwright_monitor.store import exclusive_jobs
from loopwright_monitor.store.tables import detectors
from tests.monitor.harness import MonitorHarness

BUILD = "loopwright_monitor.references.reference_from_traffic.build_reference"
REFERENCE_ROWS = reference_from_traffic.REFERENCE_ROWS
Job = Callable[[Lease], Awaitable[None]]


async def collected(harness: MonitorHarness, version: int = 1, second: int = 0) -> None:
    """The version is the champion, and has answered enough rows for a reference."""
    await harness.register(None, version=version)
    await harness.promote(version, second=second)
    await harness.consume("lifecycle")
    await answered(harness, version)


async def answered(harness: MonitorHarness, version: int = 1, mean: float = 0.0) -> None:
    rng = np.random.default_rng(version)
    for _ in range(REFERENCE_ROWS // 256):
        await harness.score({"age": rng.normal(mean, size=256).tolist()}, version=version)
    await harness.consume("detect")


async def streams(harness: MonitorHarness) -> set[tuple[int, str]]:
    async with harness.database.read() as connection:
        found = await connection.execute(sa.select(detectors.c.version, detectors.c.stream))
        return {(row.version, row.stream) for row in found}


async def test_a_champion_that_takes_over_before_the_job_reads_leaves_nothing_to_build(
    harness: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collected(harness)
    alone = exclusive_jobs.run_exclusively
    raised: list[BaseException] = []

    async def promoted_before(database: Database, name: str, job: Job) -> None:
        await harness.promote(2, second=10)
        await harness.consume("lifecycle")
        await alone(database, name, noting(job, raised))

    monkeypatch.setattr(exclusive_jobs, "run_exclusively", promoted_before)
    await reference_from_traffic.build_collected(harness.database)

    assert raised == []
    assert await streams(harness) == {(1, "score")}


async def test_a_reference_is_made_of_the_rows_it_takes_away(
    harness: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is made, champions change twice and the stream collects enough rows anew."""
    await collected(harness)
    loop = asyncio.get_running_loop()
    done = set[str]()

    async def begin_anew() -> None:
        await harness.promote(2, second=10)
        await harness.promote(1, second=20)
        await harness.consume("lifecycle")
        await answered(harness, mean=9.0)

    def build_amid_changes(rows: pa.Table, *arguments: Any) -> Any:
        if not done and "age" in rows.column_names:
            done.add("changed")
            asyncio.run_coroutine_threadsafe(begin_anew(), loop).result()
        return build_reference(rows, *arguments)

    monkeypatch.setattr(BUILD, build_amid_changes)
    await reference_from_traffic.build_collected(harness.database)
    assert (1, "inputs") not in await streams(harness)

    await reference_from_traffic.build_collected(harness.database)
    await answered(harness, mean=9.0)
    [evidence] = [
        each
        for each in (await harness.get("/v1/models/bank"))["evidence"]
        if each["group"] == "data"
    ]
    assert evidence["evidence"] < 1.0


async def test_rows_whose_types_differ_between_versions_make_a_reference_of_text(
    harness: MonitorHarness,
) -> None:
    await collected(harness)
    await harness.score({"age": ["old", "young"]}, version=2)
    await harness.consume("detect")
    await harness.register(None, version=2)
    await harness.promote(2, second=10)
    await harness.consume("lifecycle")
    for start in range(0, 2 * REFERENCE_ROWS, 256):
        age = [40] * 256 if start % 512 else ["old"] * 256
        await harness.score({"age": age}, version=2)
    await harness.consume("detect")

    await reference_from_traffic.build_collected(harness.database)
    await answered(harness, version=2)

    assert await harness.dead_letters() == []
    assert await harness.parked() == 0
    assert (await harness.get("/v1/models/bank"))["profile"]["state"] == "ready"


async def test_a_job_that_fails_leaves_the_others_their_turn(
    harness: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collected(harness)

    def build_scores_only(rows: pa.Table, *arguments: Any) -> Any:
        if "age" in rows.column_names:
            raise ValueError("not what anybody expects")
        return build_reference(rows, *arguments)

    monkeypatch.setattr(BUILD, build_scores_only)
    await reference_from_traffic.build_collected(harness.database)

    assert await streams(harness) == {(1, "score")}


def noting(job: Job, raised: list[BaseException]) -> Job:
    async def noted(lease: Lease) -> None:
        try:
            await job(lease)
        except Exception as error:
            raised.append(error)
            raise

    return noted
