"""What every bus promises to the members of a group; run over each implementation."""

import asyncio
import signal
import sys

from loopwright_common.bus.interface import EventBus, Subscription, TopicPartition
from tests.common.bus_harness import (
    GROUP,
    TOPIC,
    BusAddress,
    Group,
    by_key,
    collect,
    no_positions,
    numbered,
    record,
    until,
    values,
)

EVERYTHING = {TopicPartition(TOPIC, partition) for partition in range(3)}


async def test_what_no_position_was_stored_for_comes_again(any_bus: EventBus) -> None:
    await any_bus.publish(numbered(10))
    first = await any_bus.subscribe(GROUP, [TOPIC], no_positions)
    read = await collect(first, 10)
    await first.acknowledge({TopicPartition(r.topic, r.partition): r.offset + 1 for r in read})
    await first.close()

    second = await any_bus.subscribe(GROUP, [TOPIC], no_positions)

    assert by_key(await collect(second, 10)) == by_key(read)


async def test_what_was_acknowledged_to_the_bus_decides_nothing(any_bus: EventBus) -> None:
    await any_bus.publish(numbered(60, keys=20))
    first = await any_bus.subscribe(GROUP, [TOPIC], no_positions)
    read = await collect(first, 60)
    halves = {TopicPartition(r.topic, r.partition): r.offset for r in read if int(r.value) < 30}
    assert halves.keys() == EVERYTHING
    await first.acknowledge(halves)
    await first.close()

    second = await any_bus.subscribe(GROUP, [TOPIC], no_positions)

    assert by_key(await collect(second, 60)) == by_key(read)


async def test_a_member_goes_on_where_the_stored_positions_say(any_bus: EventBus) -> None:
    await any_bus.publish([record("a", str(n).encode()) for n in range(6)])
    group = Group()
    first = await any_bus.subscribe(GROUP, [TOPIC], group.load)
    group.handle(await collect(first, 2))
    await collect(first, 3)  # fetched and not handled
    await first.close()

    second = await any_bus.subscribe(GROUP, [TOPIC], group.load)

    assert values(await collect(second, 4)) == [b"2", b"3", b"4", b"5"]


async def test_every_group_gets_everything(any_bus: EventBus) -> None:
    await any_bus.publish(numbered(10))
    one = await any_bus.subscribe(GROUP, [TOPIC], no_positions)
    other = await any_bus.subscribe("watchers", [TOPIC], no_positions)

    assert by_key(await collect(one, 10)) == by_key(await collect(other, 10))


async def test_members_share_and_take_over_what_one_leaves(any_bus: EventBus) -> None:
    group = Group()
    async with group.member(any_bus) as one:
        await until(lambda: one.assigned() == EVERYTHING)
        async with group.member(any_bus) as other:
            await until(lambda: shared(one, other))
            await any_bus.publish(numbered(100, keys=20))
            await until(lambda: len(group.first_handled()) == 100)
        await until(lambda: one.assigned() == EVERYTHING)
        await any_bus.publish(numbered(100, keys=20, first=100))
        await until(lambda: len(group.first_handled()) == 200)

    assert by_key(group.first_handled()) == {f"key-{n}": list(range(n, 200, 20)) for n in range(20)}


async def test_the_one_that_came_first_may_leave_first(any_bus: EventBus) -> None:
    group = Group()
    async with group.member(any_bus) as other:
        async with group.member(any_bus) as one:
            await until(lambda: shared(one, other))
            await any_bus.publish(numbered(50))
        await until(lambda: other.assigned() == EVERYTHING)
        await until(lambda: len(group.first_handled()) == 50)


async def test_a_member_gets_nothing_of_what_it_lost(any_bus: EventBus) -> None:
    await any_bus.publish(numbered(300, keys=20))
    group = Group()
    one = await any_bus.subscribe(GROUP, [TOPIC], group.load)
    group.handle(await collect(one, 5))  # more of every partition lies ready in the client
    async with group.member(any_bus) as other:
        async with asyncio.timeout(240):
            while not shared(one, other):
                await group.step(one, most=1)
                await asyncio.sleep(0.05)
        lost = EVERYTHING - one.assigned()
        await any_bus.publish(numbered(100, keys=20, first=300))
        later = []
        async with asyncio.timeout(240):
            while len(group.first_handled()) < 400:
                later += await group.step(one, most=50)

    assert later
    assert not lost & {TopicPartition(r.topic, r.partition) for r in later}


async def test_nothing_is_lost_while_members_come_and_go(any_bus: EventBus) -> None:
    group = Group()

    async def come_and_go() -> None:
        for _ in range(3):
            async with group.member(any_bus) as passing:
                await until(lambda: bool(passing.assigned()))
                await asyncio.sleep(0.2)

    async with group.member(any_bus):
        coming = [asyncio.create_task(come_and_go()) for _ in range(2)]
        for first in range(0, 500, 50):
            await any_bus.publish(numbered(50, keys=20, first=first))
            await asyncio.sleep(0.1)
        await asyncio.gather(*coming)
        await until(lambda: len(group.first_handled()) == 500)

    assert by_key(group.first_handled()) == {f"key-{n}": list(range(n, 500, 20)) for n in range(20)}


async def test_a_group_survives_the_death_of_its_only_member(bus_address: BusAddress) -> None:
    before = await bus_address.open()
    await before.publish([record("a", str(n).encode()) for n in range(6)])
    await before.close()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.common.bus_process", bus_address.url, bus_address.prefix,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    partition, offset = map(int, (await child.stdout.readline()).split())
    child.send_signal(signal.SIGKILL)
    await child.wait()

    after = await bus_address.open()
    group = Group({TopicPartition(TOPIC, partition): offset})
    subscription = await after.subscribe(GROUP, [TOPIC], group.load)
    assert values(await collect(subscription, 4)) == [b"2", b"3", b"4", b"5"]
    await after.close()


def shared(one: Subscription, other: Subscription) -> bool:
    mine, theirs = one.assigned(), other.assigned()
    return bool(mine) and bool(theirs) and mine | theirs == EVERYTHING and not mine & theirs
