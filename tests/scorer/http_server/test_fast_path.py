"""The head of a request that came before is not parsed again, and means what it meant."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.scorer.harness import ROW, Replica, ScorerHarness, infer_body
from tests.scorer.listening import Answer, Client, Listener, listening, request

OTHER = {**ROW, "age": [37.0]}
BODY, OTHER_BODY = (json.dumps(infer_body(row)).encode() for row in (ROW, OTHER))
BROKEN = BODY[:-1] + b"!"


@asynccontextmanager
async def serving(
    harness: ScorerHarness, keep_alive: int = 60, package: str = "low"
) -> AsyncGenerator[tuple[Replica, Listener, Client]]:
    """With a client whose head is known."""
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, package))
        await replica.serves(1)
        async with listening(replica.service, keep_alive) as there:
            client = await there.connect()
            for _ in range(2):
                assert (await client.ask(BODY)).status == 200
            yield replica, there, client


def outputs(answer: Answer) -> object:
    assert answer.status == 200, answer.body
    return answer.json()["outputs"]


async def test_each_body_gets_its_own_answer(harness: ScorerHarness) -> None:
    assert len(BODY) == len(OTHER_BODY) == len(BROKEN)
    async with serving(harness, package="trained") as (_, there, client):
        wanted = [outputs(await (await there.connect()).ask(b)) for b in (BODY, OTHER_BODY)]
        bodies = [BODY, OTHER_BODY, BROKEN, OTHER_BODY, BODY]
        answers = [await client.ask(body) for body in bodies]

    assert wanted[0] != wanted[1]
    assert answers[2].status == 400
    assert "not JSON" in answers[2].json()["error"]
    answered = [outputs(answer) for answer in answers if answer is not answers[2]]
    assert answered == [wanted[0], wanted[1], wanted[1], wanted[0]]
    ids = {answer.headers.get("loopwright-prediction-id") for answer in answers}
    assert len(ids) == len(answers)


async def test_requests_in_pieces_and_several_at_once_are_told_apart(
    harness: ScorerHarness,
) -> None:
    whole, other = request(BODY), request(OTHER_BODY)
    async with serving(harness) as (_, _there, client):
        wanted = [outputs(await client.ask(body)) for body in (BODY, OTHER_BODY)]
        client.writer.write(whole + other + whole)
        found = [outputs(await client.answer()) for _ in range(3)]
        for cut in (10, whole.index(b"\r\n\r\n") + 4, len(whole) - 10):
            client.writer.write(other[:cut])
            await client.writer.drain()
            await asyncio.sleep(0.05)
            client.writer.write(other[cut:] + whole)
            found += [outputs(await client.answer()) for _ in range(2)]

    first, second = wanted
    assert found == [first, second, first] + [second, first] * 3


async def test_chunks_of_the_size_of_an_earlier_body_are_still_chunks(
    harness: ScorerHarness,
) -> None:
    head = request(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    inner = chunk(BODY)
    async with serving(harness) as (_, _there, client):
        wanted = outputs(await client.ask(BODY))
        for body in (BODY.ljust(len(inner)), BODY):
            client.writer.write(head + chunk(body))
            assert outputs(await client.answer()) == wanted


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def test_a_known_head_is_answered_by_whoever_is_routed_then(harness: ScorerHarness) -> None:
    async with serving(harness) as (replica, _there, client):
        before = await client.ask(BODY)
        await harness.route(2, await harness.arm(2, "high"))
        await replica.serves(2)
        after = await client.ask(BODY)

    assert (before.json()["model_version"], after.json()["model_version"]) == ("1", "2")
    assert outputs(before) != outputs(after)


async def test_a_connection_is_kept_while_it_is_used_and_let_go_when_idle(
    harness: ScorerHarness,
) -> None:
    async with serving(harness, keep_alive=1) as (_, _there, client):
        for _ in range(5):
            await asyncio.sleep(0.4)
            assert (await client.ask(BODY)).status == 200
        assert await client.end() == b""
