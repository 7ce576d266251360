"""Dead letters that people can act on: list, show, replay, discard."""

import base64

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import OutgoingRecord
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, outbox
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.events import CodeChanged
from tests.common.delivery.test_consumer import code_changed, handle_all, rows
from tests.common.delivery_harness import Faulty, Person, catch_up, joined, junk, person_at
from tests.common.probe import service
from tests.common.probe.service import Effect, effects


def failing(database: Database, bus: SqliteBus) -> tuple[Consumer, Faulty]:
    """A consumer whose handler raises ValueError for key `bad`."""
    faulty = Faulty(ValueError("no such luck"))
    faulty.down = {"bad"}
    return service.consumer(database, bus, {CodeChanged: faulty.on_code_changed}), faulty


async def only_letter(person: Person) -> str:
    (letter,) = (await person.get("/v1/dead-letters"))["items"]
    return str(letter["id"])


async def test_the_list_goes_on_where_it_stopped_whatever_dies_meanwhile(
    database: Database, bus: SqliteBus
) -> None:
    await bus.publish([junk(number) for number in range(5)])
    consumer = service.consumer(database, bus)
    await handle_all(consumer, bus)
    async with person_at(database, consumer) as person:
        first = await person.get("/v1/dead-letters", limit=2)
        await bus.publish([junk(5)])
        await handle_all(consumer, bus)
        second = await person.get("/v1/dead-letters", limit=2, after=first["next"])
        third = await person.get("/v1/dead-letters", limit=2, after=second["next"])
        refused = await person.get("/v1/dead-letters", 422, after="yesterday")

    keys = [letter["key"] for page in (first, second, third) for letter in page["items"]]
    assert sorted(keys) == [f"junk-{number}" for number in range(5)]
    assert third["next"] is None
    assert refused["errors"][0]["field"] == "after"


async def test_a_dead_letter_shows_its_record_and_what_happened_to_it(
    database: Database, bus: SqliteBus
) -> None:
    consumer, _ = failing(database, bus)
    good = code_changed("bad", 1)
    await bus.publish([good, junk(1)])
    await handle_all(consumer, bus, rounds=6)

    async with person_at(database, consumer) as person:
        ids = {x["key"]: x["id"] for x in (await person.get("/v1/dead-letters"))["items"]}
        text = await person.get(f"/v1/dead-letters/{ids['bad']}")
        binary = await person.get(f"/v1/dead-letters/{ids['junk-1'][:12]}")
        await person.get("/v1/dead-letters/none-such", 404)

    assert text["value"] == good.value.decode()
    assert text["headers"] == dict(good.headers)
    assert (text["error"], text["attempts"]) == ("ValueError: no such luck", 4)
    assert text["first_failed_at"] < text["failed_at"]
    assert text["code_version"]
    assert (binary["value"], base64.b64decode(binary["value_base64"])) == (None, b"\xffjunk")


async def test_a_replayed_event_has_its_effect_once_and_keeps_its_id(
    database: Database, bus: SqliteBus
) -> None:
    consumer, faulty = failing(database, bus)
    await bus.publish([code_changed("bad", 1), code_changed("good", 2)])
    await handle_all(consumer, bus, rounds=6)
    faulty.down.clear()

    async with person_at(database, consumer) as person, joined(consumer, bus) as subscription:
        letter_id = await only_letter(person)
        told = await person.post(f"/v1/dead-letters/{letter_id}/replay", by="ann")
        await catch_up(consumer, subscription)
        again = await person.post(f"/v1/dead-letters/{letter_id}/replay", 409, by="bob")
        left = await person.get("/v1/dead-letters")
        history = await person.get("/v1/dead-letters", state="replayed")

    assert (told["state"], told["decided_by"]) == ("replayed", "ann")
    assert "was replayed by ann before" in again["detail"]
    assert left["items"] == []
    assert [letter["id"] for letter in history["items"]] == [letter_id]
    assert sorted(await effects(database)) == [Effect("bad", 1), Effect("good", 2)]


async def test_what_fails_again_after_its_replay_is_dead_again_and_no_poison(
    database: Database, bus: SqliteBus
) -> None:
    consumer, _ = failing(database, bus)
    consumer._stats._poison_limit = 2
    await bus.publish([code_changed("bad", 1)])
    await handle_all(consumer, bus, rounds=6)
    async with person_at(database, consumer) as person:
        letter_id = await only_letter(person)
        for _ in range(3):
            await person.post(f"/v1/dead-letters/{letter_id}/replay", by="ann")
            await handle_all(consumer, bus, rounds=8)
        letter = await person.get(f"/v1/dead-letters/{letter_id}")

    assert (letter["state"], letter["attempts"]) == ("dead", 16)
    assert consumer.stopped is None
    published = [row.id for row in await rows(database, outbox) if row.type == "dead-letter"]
    assert len(set(published)) == 4


async def test_all_of_a_consumer_and_topic_are_replayed_in_their_order(
    database: Database, bus: SqliteBus
) -> None:
    consumer, faulty = failing(database, bus)
    await bus.publish([code_changed("bad", number) for number in range(4)])
    await handle_all(consumer, bus, rounds=30)
    faulty.down.clear()

    async with person_at(database, consumer) as person, joined(consumer, bus) as subscription:
        none = await person.post("/v1/dead-letters/replay", consumer="other", by="ann")
        told = await person.post(
            "/v1/dead-letters/replay", consumer=consumer.name, topic="code-changed", by="ann"
        )
        await catch_up(consumer, subscription)

    assert (none["replayed"], told["replayed"]) == (0, 4)
    assert await effects(database) == [Effect("bad", number) for number in range(4)]


async def test_a_discarded_letter_stays_in_the_history_with_who_and_why(
    database: Database, bus: SqliteBus
) -> None:
    consumer = service.consumer(database, bus)
    await bus.publish([junk(1)])
    await handle_all(consumer, bus)

    async with person_at(database, consumer) as person:
        letter_id = await only_letter(person)
        await person.post(f"/v1/dead-letters/{letter_id}/discard", 422, by="ann")
        told = await person.post(f"/v1/dead-letters/{letter_id}/discard", by="ann", reason="a test")
        await person.post(f"/v1/dead-letters/{letter_id}/replay", 409, by="bob")
        left = await person.get("/v1/dead-letters")
        history = await person.get("/v1/dead-letters", state="discarded")

    assert (told["state"], told["decided_by"], told["reason"]) == ("discarded", "ann", "a test")
    assert left["items"] == []
    assert history["items"] == [told]


@pytest.mark.parametrize("path", ["x/replay", "x/discard"])
async def test_no_such_dead_letter_says_where_to_look(database: Database, path: str) -> None:
    async with person_at(database) as person:
        answer = await person.post(f"/v1/dead-letters/{path}", 404, by="ann", **reason_for(path))
    assert answer["detail"] == "no dead letter x; see `loopwright dead-letters list`"


def reason_for(path: str) -> dict[str, str]:
    return {"reason": "gone"} if path.endswith("discard") else {}


async def test_the_letter_on_the_bus_tells_its_origin(database: Database, bus: SqliteBus) -> None:
    await bus.publish([OutgoingRecord("code-changed", "a", {"ce_id": "1"}, b"junk")])
    await handle_all(service.consumer(database, bus), bus)

    (kept,) = await rows(database, dead_letters)
    (sent,) = await rows(database, outbox)
    assert (sent.id, sent.aggregatetype, sent.payload) == (
        kept.id,
        "probe.worker.dead-letters",
        b"junk",
    )
    assert sent.headers["x-origin-topic"] == "code-changed"
    assert sent.headers["x-origin-offset"] == str(kept.offset)
    assert sent.headers["x-attempts"] == "1"
