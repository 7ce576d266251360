"""Inference records on their way out: nothing doubled, every loss counted."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest

from loopwright_common.bus.interface import EventBus
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.cloudevents.inference_logged import ENVELOPE, InferenceLogged
from loopwright_common.errors import UnavailableError
from tests.scorer import packages
from tests.scorer.harness import MODEL, ROW, Columns, Replica, ScorerHarness, eventually
from tests.scorer.packages import BREAKS_AT

TWO_ROWS: Columns = {
    "age": [41.0, None],
    "visits": [2, 3],
    "job": ["clerk", None],
    "balance": [1, 2],
}


class FailingBus:
    """A real bus whose connection for inference records can be cut."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self.away = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        if self.away and any(record.topic == InferenceLogged.topic for record in records):
            raise UnavailableError("the bus is away")
        await self._bus.publish(records)


async def batches(harness: ScorerHarness) -> list[InferenceLogged]:
    return cast(list[InferenceLogged], await harness.events(InferenceLogged.topic))


async def logged(harness: ScorerHarness) -> pa.Table:
    return pa.concat_tables([b.table for b in await batches(harness) if not b.last])


async def start(harness: ScorerHarness, replica: Replica, package: str = "low") -> None:
    await harness.route(1, await harness.arm(1, package))
    await replica.serves(1)


def cut(harness: ScorerHarness) -> FailingBus:
    failing = FailingBus(harness.bus)
    failing.away = True
    harness.bus = failing  # type: ignore[assignment]
    return failing


async def test_each_row_is_logged_with_its_inputs_and_outputs(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await start(harness, replica)
        answer = await replica.infer(TWO_ROWS, loopwright_request_id="order 7")

    table = await logged(harness)
    prediction = answer.headers["loopwright-prediction-id"]
    rows = table.to_pylist()
    assert table.schema.names[: len(ENVELOPE)] == ENVELOPE.names
    assert [row["prediction_id"] for row in rows] == [f"{prediction}.0", f"{prediction}.1"]
    assert [row["request_id"] for row in rows] == ["order 7", "order 7"]
    assert [row["input.age"] for row in rows] == [41.0, None]
    assert [row["input.job"] for row in rows] == ["clerk", None]
    assert table.schema.field("input.visits").type == pa.int64()
    assert [(row["output.label"], row["output.score"]) for row in rows] == [("no", 0.25)] * 2


async def test_a_failed_call_is_logged_with_its_error(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await start(harness, replica)
        await replica.infer(ROW)
        await replica.infer({**ROW, "visits": [BREAKS_AT]})

    good, bad = (await logged(harness)).to_pylist()
    assert good["error"] is None
    assert bad["output.score"] is None
    assert bad["output.label"] is None
    assert bad["input.visits"] == BREAKS_AT
    assert "Gather" in bad["error"]


async def test_small_and_large_calls_are_logged_whole_and_in_order(harness: ScorerHarness) -> None:
    """More small ones than are copied together, and some between them that are not copied."""
    sizes = [1] * 300 + [100, 2, 700] + [3] * 100
    visits = [[n % 7 for n in range(at, at + size)] for at, size in enumerate(sizes)]
    jobs = [[f"{n}" if n % 3 else None for n in call] for call in visits]
    async with harness.replica(record_interval=60) as replica:
        await start(harness, replica, "trained")
        for own, job in zip(visits, jobs, strict=True):
            rows = len(own)
            columns: Columns = {"visits": own, "job": job}
            columns |= {"age": [20.0] * rows, "balance": [1.0] * rows}
            await replica.infer(columns)

    entries = (await logged(harness)).to_pylist()
    assert [row["input.visits"] for row in entries] == [n for call in visits for n in call]
    assert [row["input.job"] for row in entries] == [job for call in jobs for job in call]
    places = [row["prediction_id"].rpartition(".")[2] for row in entries]
    assert places == [str(n) for size in sizes for n in range(size)]


async def test_images_of_several_sizes_that_come_at_once_are_answered_and_logged(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    harness.package_dirs = {
        **harness.package_dirs,
        "sizes": packages.summing(tmp_path / "sizes", (-1, -1)),
    }
    async with harness.replica(record_interval=60) as replica:
        await start(harness, replica, "sizes")
        # So that those that come while one is computed wait for the next batch.
        replica.slow_down(0.01)
        answers = await asyncio.gather(
            *(replica.http.post(f"/v2/models/{MODEL}/infer", json=image(n)) for n in range(1, 25))
        )

    assert [answer.json()["outputs"][0]["data"] for answer in answers] == [
        [float(n * (n % 3 + 1))] for n in range(1, 25)
    ]
    sent = await batches(harness)
    assert sum(batch.table.num_rows for batch in sent) == 24
    scores = {
        row["output.score"]: sum(value for name, value in row.items() if name.startswith("input."))
        for batch in sent
        for row in batch.table.to_pylist()
    }
    assert all(score == total for score, total in scores.items())


def image(number: int) -> dict[str, object]:
    width = number % 3 + 1
    tensor = {
        "name": "pixels",
        "datatype": "FP64",
        "shape": [1, 1, width],
        "data": [number] * width,
    }
    return {"inputs": [tensor]}


async def test_calls_by_version_and_refused_calls_are_not_logged(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await start(harness, replica)
        await replica.infer(ROW, f"/v2/models/{MODEL}/versions/1/infer")
        await replica.infer({"age": [1.0]})

    assert await batches(harness) == []


async def test_a_tensor_is_logged_as_numbered_columns(harness: ScorerHarness) -> None:
    pixels = {"name": "pixels", "datatype": "FP64", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}
    async with harness.replica() as replica:
        await start(harness, replica, "summing")
        await replica.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": [pixels]})

    row = (await logged(harness)).to_pylist()[0]
    assert [row[f"input.pixels_{i}"] for i in range(4)] == [1, 2, 3, 4]
    assert row["output.score"] == 10


async def test_versions_with_different_columns_leave_in_different_batches(
    harness: ScorerHarness,
) -> None:
    async with harness.replica(record_interval=5) as replica:
        await start(harness, replica)
        await replica.infer(ROW)
        await harness.route(2, await harness.arm(2, "summing"))
        await replica.serves(2)
        pixels = {"name": "pixels", "datatype": "FP64", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}
        await replica.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": [pixels]})

    sent = await batches(harness)
    assert [(b.sequence, b.table.num_rows, b.last) for b in sent] == [
        (0, 1, False),
        (1, 1, False),
        (2, 0, True),
    ]


async def test_a_full_batch_leaves_before_its_time(harness: ScorerHarness) -> None:
    async with harness.replica(record_interval=60, record_rows=4) as replica:
        await start(harness, replica)
        for _ in range(2):
            await replica.infer(TWO_ROWS)

        async def sent() -> list[InferenceLogged]:
            return await batches(harness)

        await eventually(sent)


@pytest.mark.parametrize("calls", [1, 2])
async def test_large_requests_are_cut_into_batches_that_fit_a_record(
    harness: ScorerHarness, calls: int
) -> None:
    """One is sealed on the event loop, two that wait together in a thread."""
    rows = 3000
    columns: Columns = {"age": [1.0], "visits": [2], "job": ["x" * 1000], "balance": [0.5]}
    async with harness.replica(record_rows=10_000, record_interval=60) as replica:
        await start(harness, replica)
        for _ in range(calls):
            answer = await replica.infer({name: data * rows for name, data in columns.items()})
            assert answer.status_code == 200

    sent = await batches(harness)
    assert sum(batch.table.num_rows for batch in sent) == calls * rows
    assert len(sent) > 4 * calls


async def test_records_spill_while_the_bus_is_away_and_are_sent_in_order_later(
    harness: ScorerHarness,
) -> None:
    failing = cut(harness)
    async with harness.replica() as replica:
        await start(harness, replica)
        for _ in range(3):
            await replica.infer(ROW)
            waiting = replica.metric("loopwright_inference_spill_batches")

            async def spilled(before: float = waiting) -> bool:
                return replica.metric("loopwright_inference_spill_batches") > before

            await eventually(spilled)
        assert await batches(harness) == []
        failing.away = False

        async def sent() -> bool:
            return replica.metric("loopwright_inference_spill_batches") == 0

        await eventually(sent)
        await replica.infer(ROW)

    assert [batch.sequence for batch in await batches(harness)] == list(range(5))
    assert (await logged(harness)).num_rows == 4


async def test_spilled_records_are_sent_by_the_next_process_with_their_ids(
    harness: ScorerHarness,
) -> None:
    failing = cut(harness)
    async with harness.replica() as replica:
        await start(harness, replica)
        await replica.infer(ROW)
    assert await batches(harness) == []
    failing.away = False

    async with harness.replica():

        async def sent() -> bool:
            return len(await batches(harness)) == 2

        await eventually(sent)

    both = await batches(harness)
    assert [(batch.sequence, batch.last) for batch in both] == [(0, False), (1, True)]
    assert len({batch.epoch for batch in both}) == 1


async def test_what_finds_no_room_is_counted_as_dropped_and_shows_as_a_gap(
    harness: ScorerHarness,
) -> None:
    failing = cut(harness)
    async with harness.replica(spill_limit=0) as replica:
        await start(harness, replica)
        await replica.infer(TWO_ROWS)

        async def dropped() -> bool:
            return replica.metric("loopwright_inference_rows_dropped_total") == 2

        await eventually(dropped)
        failing.away = False
        await replica.infer(ROW)

    sent = await batches(harness)
    assert sum(batch.table.num_rows for batch in sent) == 1
    assert {batch.dropped for batch in sent} == {2}
    assert sent[0].sequence == 1


async def test_a_full_buffer_drops_and_counts_without_delaying_answers(
    harness: ScorerHarness,
) -> None:
    async with harness.replica(record_buffer=0) as replica:
        await start(harness, replica)
        answers = [await replica.infer(ROW) for _ in range(3)]

        assert all(answer.status_code == 200 for answer in answers)
        assert replica.metric("loopwright_inference_rows_dropped_total") == 3

    last = (await batches(harness))[-1]
    assert (last.dropped, last.last) == (3, True)


async def test_what_was_dropped_is_told_although_nothing_comes_after_it(
    harness: ScorerHarness,
) -> None:
    async with harness.replica(record_buffer=0) as replica:
        await start(harness, replica)
        await replica.infer(TWO_ROWS)

        async def two_are_dropped() -> bool:
            return [batch.dropped for batch in await batches(harness)] == [2]

        await eventually(two_are_dropped)
