import asyncio

from loopwright_common import clock
from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.bus.interface import EventBus
from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.events import Event, RoutesChanged


def routes(key: str, revision: int) -> OutgoingRecord:
    data = RoutesChanged(
        environment="production", model_id=key, model=key, revision=revision, arms=[]
    )
    return codec.encode(
        Event(id=f"{key}{revision}", source="test", subject=key, time=clock.now(), key=key,
              chain_id="c", causes=(), traceparent="", data=data)
    )  # fmt: skip


async def read(any_bus: EventBus) -> TableReader[RoutesChanged]:
    reader = TableReader(
        any_bus, RoutesChanged, replaces=lambda old, new: new.revision > old.revision
    )
    task = asyncio.create_task(reader.run())
    async with asyncio.timeout(120):
        await reader.ready.wait()
    task.cancel()
    await asyncio.wait([task])
    return reader


async def test_a_lower_revision_never_replaces_a_higher_one(any_bus: EventBus) -> None:
    await any_bus.publish([routes("a", 2), routes("b", 1), routes("a", 1)])

    reader = await read(any_bus)

    assert {key: row.data.revision for key, row in reader.rows.items()} == {"a": 2, "b": 1}


async def test_an_empty_record_removes_its_row_and_junk_is_skipped(any_bus: EventBus) -> None:
    junk = OutgoingRecord("routes-changed", "a", {}, b"junk")
    await any_bus.publish([routes("a", 1), junk, OutgoingRecord("routes-changed", "a", {}, b"")])

    assert (await read(any_bus)).rows == {}


async def test_an_empty_topic_is_ready_at_once(any_bus: EventBus) -> None:
    assert (await read(any_bus)).rows == {}


async def test_a_ready_reader_follows_what_changes(any_bus: EventBus) -> None:
    await any_bus.publish([routes(f"model-{n}", 1) for n in range(300)])
    reader = TableReader(any_bus, RoutesChanged)
    task = asyncio.create_task(reader.run())
    async with asyncio.timeout(120):
        await reader.ready.wait()
        assert len(reader.rows) == 300
        reader.changed.clear()
        await any_bus.publish([routes("model-7", 2)])
        await reader.changed.wait()
    task.cancel()
    await asyncio.wait([task])

    assert reader.rows["model-7"].data.revision == 2
