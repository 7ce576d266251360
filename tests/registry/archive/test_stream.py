"""The archive as Server-Sent Events: nothing lost, nothing repeated, however often cut."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import encode
from loopwright_common.database.database import Database
from loopwright_common.events import CodeChanged, DriftDetected, Event, EventData, Since
from loopwright_registry.archive.domain import FeedLimits
from loopwright_registry.archive.feed import EventFeed
from loopwright_registry.archive.handlers import on_archived_event
from tests.registry.builders import happened
from tests.registry.harness import Client, Serve, running_replica

COMMIT, DRIFT = "dev.loopwright.code-changed.v1", "dev.loopwright.drift-detected.v1"


def commit(number: int) -> Event[EventData]:
    data = CodeChanged(repository="bank", ref="refs/heads/main", commit=f"c{number}")
    return happened(data, f"e{number}", number, "repositories/bank")


def drift(number: int) -> Event[EventData]:
    data = DriftDetected(
        model_id="id", model="m", version=1, episode="e", kind="data", features=[],
        since=Since(row=0), rows_seen=1, false_alarm_every_rows=1000, guarantee="g",
    )  # fmt: skip
    return happened(data, f"d{number}", number, "models/m/versions/1")


@asynccontextmanager
async def stream(
    client: Client, last_id: str | None = None, **query: Any
) -> AsyncGenerator[AsyncIterator[dict[str, str]], None]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    async with client.stream("GET", "/v1/events", params=query, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield blocks(answer.aiter_lines())


async def blocks(lines: AsyncIterator[str]) -> AsyncGenerator[dict[str, str], None]:
    """The blocks of the stream as the standard reads them; a comment is a field without name."""
    block: dict[str, str] = {}
    async for line in lines:
        if not line:
            yield block
            block = {}
        else:
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")


async def taken(blocks: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    """The next events, without what comes between them."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        block = await anext(blocks)
        found += [block] if "data" in block else []
    return found


def ids(found: list[dict[str, str]]) -> list[str]:
    return [json.loads(block["data"])["id"] for block in found]


async def archived(client: Client, count: int) -> list[dict[str, Any]]:
    while True:
        answer = await client.get("/v1/events", params={"limit": 1000})
        items: list[dict[str, Any]] = answer.json()["items"]
        if len(items) >= count:
            return items
        await asyncio.sleep(0.02)


async def test_a_stream_tells_what_was_and_what_comes(serve: Serve, bus: SqliteBus) -> None:
    client = await serve()
    await bus.publish([encode(commit(n)) for n in range(120)])
    listed = await archived(client, 120)

    async with stream(client, after=0) as events:
        first = await anext(events)
        before = await taken(events, 120)
        await bus.publish([encode(drift(0))])
        [after] = await taken(events, 1)

    assert (first["id"], int(first["retry"]) > 0) == ("0", True)
    assert [int(block["id"]) for block in before] == [item.pop("position") for item in listed]
    assert [json.loads(block["data"]) for block in before] == listed
    assert {block["event"] for block in before} == {COMMIT}
    assert (after["event"], ids([after])) == (DRIFT, ["d0"])


async def test_without_a_place_a_stream_begins_now_and_can_be_taken_up_there(
    serve: Serve, bus: SqliteBus
) -> None:
    client = await serve()
    await bus.publish([encode(commit(0))])
    [old] = await archived(client, 1)
    async with stream(client) as events:
        first = await anext(events)
    await bus.publish([encode(commit(1))])

    async with stream(client, last_id=first["id"], after=0) as events:
        [found] = await taken(events, 1)

    assert first["id"] == str(old["position"])
    assert ids([found]) == ["e1"]


async def test_a_stream_of_some_types_leaves_out_the_others(serve: Serve, bus: SqliteBus) -> None:
    client = await serve()
    await bus.publish([encode(commit(0)), encode(drift(0)), encode(commit(1))])
    await archived(client, 3)

    async with stream(client, after=0, type=["drift-detected", "model-registered"]) as some:
        only = ids(await taken(some, 1))
    async with stream(client, after=0, type=[DRIFT, "code-changed"]) as both:
        every = ids(await taken(both, 3))
    async with stream(client, after=0, model="m") as of_model:
        models = ids(await taken(of_model, 1))

    assert (only, sorted(every), models) == (["d0"], ["d0", "e0", "e1"], ["d0"])


async def test_a_cut_reader_loses_and_repeats_nothing_while_events_flow(
    serve: Serve, bus: SqliteBus
) -> None:
    client = await serve()
    count, seen, last_id = 300, list[str](), "0"

    async def flow() -> None:
        for number in range(0, count, 5):
            await bus.publish([encode(commit(n)) for n in range(number, number + 5)])
            await asyncio.sleep(0)

    flowing = asyncio.create_task(flow())
    while len(seen) < count:
        async with stream(client, last_id=last_id) as events:
            for block in await taken(events, min(23, count - len(seen))):
                seen += ids([block])
                last_id = block["id"]
    await flowing

    listed = [item["id"] for item in await archived(client, count)]
    assert seen == listed
    assert len(set(seen)) == count


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_reader_goes_from_replica_to_replica(serve: Serve, bus: SqliteBus) -> None:
    """A SQLite file has one replica."""
    clients = [await serve(), await serve()]
    await bus.publish([encode(commit(number)) for number in range(60)])
    seen, last_id = list[str](), "0"

    while len(seen) < 60:
        async with stream(clients[len(seen) % 2], last_id=last_id) as events:
            for block in await taken(events, min(7, 60 - len(seen))):
                seen += ids([block])
                last_id = block["id"]

    assert seen == [item["id"] for item in await archived(clients[0], 60)]
    assert sorted(seen) == sorted(f"e{number}" for number in range(60))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_another_replica_archives_comes_by_itself(
    serve: Serve, database: Database
) -> None:
    client = await serve()
    async with stream(client, after=0) as events:
        await anext(events)
        await keep(database, commit(0))
        [found] = await taken(events, 1)

    assert ids([found]) == ["e0"]


async def keep(database: Database, event: Event[EventData]) -> None:
    async with database.unit_of_work() as uow:
        await on_archived_event(event, uow, EventFeed(database, FeedLimits()))


@pytest.mark.parametrize("last_id", ["abc", "-1", "1.5", "9" * 30, "99"])
async def test_a_place_that_is_none_is_refused(client: Client, last_id: str) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last_id}
    answer = await client.get("/v1/events", headers=headers)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "last-event-id" in answer.json()["detail"].lower()


@pytest.mark.parametrize("query", [{"after": 99}, {"after": -1}, {"type": "nonsense"}])
async def test_a_question_that_makes_no_sense_is_refused(
    client: Client, query: dict[str, Any]
) -> None:
    answer = await client.get("/v1/events/stream", params=query)

    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


async def test_only_so_many_may_follow_at_once(serve: Serve) -> None:
    client = await serve(streams=1)

    async with stream(client) as events:
        await anext(events)
        refused = await client.get("/v1/events/stream")
    assert await statuses_until_admitted(client) <= {503}
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "LOOPWRIGHT_REGISTRY_STREAMS" in refused.json()["detail"]


async def test_one_address_may_follow_only_so_often(serve: Serve) -> None:
    client = await serve(streams_per_client=1)

    async with stream(client) as events:
        await anext(events)
        refused = await client.get("/v1/events/stream")
        pages = await client.get("/v1/events")
    assert await statuses_until_admitted(client) <= {429}
    assert (refused.status_code, pages.status_code) == (429, 200)
    assert int(refused.headers["retry-after"]) > 0
    assert "LOOPWRIGHT_REGISTRY_STREAMS_PER_CLIENT" in refused.json()["detail"]


async def statuses_until_admitted(client: Client) -> set[int]:
    """The refusals, as long as the server has not seen that the other reader is gone."""
    refusals = set[int]()
    while True:
        async with client.stream("GET", "/v1/events/stream") as answer:
            if answer.status_code == 200:
                return refusals
            refusals.add(answer.status_code)
        await asyncio.sleep(0.02)


async def test_a_silence_is_broken_by_heartbeats(serve: Serve) -> None:
    client = await serve(stream_heartbeat_seconds=0.05)

    async with stream(client) as events:
        await anext(events)
        beats = [await anext(events) for _ in range(3)]

    assert [list(beat) for beat in beats] == [[""]] * 3


async def test_a_stream_ends_when_the_service_stops(
    bus: SqliteBus, tmp_path: Path, migrated_url: str
) -> None:
    following, first = asyncio.Event(), list[dict[str, str]]()

    async def follow(client: Client) -> None:
        async with stream(client) as events:
            async for block in events:
                first.append(block)
                following.set()

    async with running_replica(bus, tmp_path, migrated_url) as client:
        reader = asyncio.create_task(follow(client))
        await following.wait()
    await reader

    assert len(first) == 1
