"""Too much, too slow, too large and absurd: whoever sends it, the others are answered."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scorer import isolated_packages
from tests.scorer.harness import MODEL, ROW, Columns, Replica, ScorerHarness, eventually, infer_body
from tests.scorer.isolated.test_runtime import asked
from tests.scorer.listening import INFER, Answer, Client, Listener, listening, request

BODY = json.dumps(infer_body(ROW)).encode()
HEAD = f"POST {INFER} HTTP/1.1\r\nhost: localhost\r\n".encode()
JSON_LIMIT = 1 << 20
MANY = 20_000
COMPUTED = "loopwright_predictions_total"


@asynccontextmanager
async def serving(
    harness: ScorerHarness, **changed: Any
) -> AsyncGenerator[tuple[Replica, Listener]]:
    async with harness.replica(largest_json=JSON_LIMIT, **changed) as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        async with listening(replica.service) as there:
            yield replica, there


async def others_are_answered(there: Listener, calls: int = 20) -> None:
    client = await there.connect()
    answers = [await client.infer(ROW) for _ in range(calls)]
    client.close()
    assert [answer.status for answer in answers] == [200] * calls


async def drip(client: Client, content: bytes) -> None:
    for at in range(len(content)):
        if client.writer.is_closing():
            return
        client.writer.write(content[at : at + 1])
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        HEAD,
        HEAD + b"content-length: 500\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n",
    ],
    ids=["nothing", "headers", "body", "chunks"],
)
async def test_who_drips_a_request_is_told_to_hurry_and_let_go(
    harness: ScorerHarness, begun: bytes
) -> None:
    async with serving(harness, body_timeout=0.5) as (_, there):
        clients = [await there.connect() for _ in range(5)]
        for client in clients:
            client.writer.write(begun)
        # Zeros: a chunk's size that grows without end would be refused for that, if ever so late.
        rest = b"0" * 100 if begun else HEAD
        dripping = [asyncio.create_task(drip(client, rest)) for client in clients]
        ends = [asyncio.create_task(client.end()) for client in clients]
        await others_are_answered(there)
        ended = [await end for end in ends]
        for task in dripping:
            task.cancel()

    assert all(end.startswith(b"HTTP/1.1 408") for end in ended), ended


async def test_who_never_takes_answers_is_let_go(harness: ScorerHarness) -> None:
    async with serving(harness, body_timeout=0.5) as (_, there):
        client = await there.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        asked_for = request(json.dumps(infer_body(rows(ROW, 3000))).encode())

        async def is_let_go() -> bool:
            if client.writer.transport.get_write_buffer_size() < len(asked_for):
                client.writer.write(asked_for)
            return client.writer.is_closing()

        await others_are_answered(there)
        await eventually(is_let_go)
        await others_are_answered(there)


async def test_half_closed_connections_hurt_nobody(harness: ScorerHarness) -> None:
    async with serving(harness) as (_, there):
        ended = b""
        for content in (b"", HEAD, request(BODY)[:-10], request(BODY)):
            client = await there.connect()
            client.writer.write(content)
            client.writer.write_eof()
            await others_are_answered(there, 3)
            ended = await client.end()
    assert ended.startswith(b"HTTP/1.1 200")


async def test_a_connection_too_many_is_told_to_come_again(harness: ScorerHarness) -> None:
    async with serving(harness, max_connections=4) as (_, there):
        first = [await there.connect() for _ in range(4)]
        assert (await first[0].infer(ROW)).status == 200
        refused = await (await there.connect()).infer(ROW)
        assert (await first[0].infer(ROW)).status == 200
        for client in first:
            client.close()
        await eventually_answered(there)

    assert_come_again(refused)
    assert refused.headers["connection"] == "close"
    assert "LOOPWRIGHT_SCORER_MAX_CONNECTIONS" in refused.json()["error"]


async def eventually_answered(there: Listener) -> None:
    async def answered() -> bool:
        client = await there.connect()
        try:
            return (await client.infer(ROW)).status == 200
        finally:
            client.close()

    await eventually(answered)


def assert_come_again(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"


async def test_headers_without_end_are_refused(harness: ScorerHarness) -> None:
    async with serving(harness) as (_, there):
        client = await there.connect()
        client.writer.write(HEAD + b"x-long: " + b"x" * (1 << 20))
        answer = await client.answer()
        await others_are_answered(there)

    assert answer.status == 431
    assert "headers" in answer.json()["error"]


async def test_paths_without_end_are_refused(harness: ScorerHarness) -> None:
    async with serving(harness) as (_, there):
        client = await there.connect()
        answer = await client.ask(BODY, path=f"/v2/models/{'x' * 5000}/infer")
        client.close()

    assert answer.status == 414


def of_inputs(content: str) -> bytes:
    return f'{{"inputs": [{content}]}}'.encode()


def of_data(content: str) -> bytes:
    return of_inputs('{"name": "age", "datatype": "FP64", "shape": [1], "data": [' + content + "]}")


ABSURD = {
    "nested": b"[" * MANY + b"]" * MANY,
    "nested data": of_data("[" * MANY + "]" * MANY),
    "nested and not quite JSON": of_data("[" * MANY + "NaN" + "]" * MANY),
    "digits": of_data("1" * JSON_LIMIT)[: JSON_LIMIT - 2] + b"]}",
    "a huge number": of_data("9" * 4000),
    "a huge exponent": of_data("1e999999"),
    "many keys": json.dumps({f"k{number}": 0 for number in range(60_000)}).encode(),
    "a key twice": b'{"inputs": [], "inputs": []}',
    "an input twice": of_inputs(
        '{"name": "age", "datatype": "FP64", "shape": [1], "data": [1]},' * 2
    ).replace(b",]", b"]"),
    "wrong UTF-8": of_inputs('{"name": "\xff"}').decode().encode("latin-1"),
    "half a surrogate": of_inputs('{"name": "\\ud800"}'),
    "many dimensions": of_data("1").replace(b"[1]", b"[" + b"9" * 18 + b",9" * MANY + b"]", 1),
    "many lists": of_data(",".join(["[]"] * MANY)),
    "NaN all over": of_data(",".join(["NaN"] * MANY)),
}


@pytest.mark.parametrize("body", ABSURD.values(), ids=ABSURD)
async def test_absurd_json_is_refused_in_words(harness: ScorerHarness, body: bytes) -> None:
    async with serving(harness) as (_, there):
        clients = [await there.connect() for _ in range(3)]
        answers = asyncio.gather(*(client.ask(body) for client in clients))
        await others_are_answered(there, 5)
        for answer in await answers:
            assert answer.status == 400
            assert answer.json()["error"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_past_the_limit_is_refused_before_it_has_come(
    harness: ScorerHarness, chunked: bool
) -> None:
    async with serving(harness) as (_, there):
        client = await there.connect()
        size = 64 << 20
        if chunked:
            part = b"%x\r\n" % JSON_LIMIT + b" " * JSON_LIMIT + b"\r\n"
            client.writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n" + part * 2)
        else:
            client.writer.write(HEAD + b"content-length: %d\r\n\r\n{" % size)
        answer = await client.answer()
        await others_are_answered(there)
        client.close()

    assert answer.status == 413
    assert "LOOPWRIGHT_SCORER_LARGEST_JSON" in answer.json()["error"]


async def test_raw_tensors_may_be_larger_than_json(harness: ScorerHarness) -> None:
    count = JSON_LIMIT // 8
    pixels = {"name": "pixels", "datatype": "FP64", "shape": [count, 2, 2]}
    size = {"parameters": {"binary_data_size": count * 32}}
    raw = {"parameters": {"binary_data_output": True}}
    head = json.dumps({"inputs": [{**pixels, **size}], **raw}).encode()
    async with harness.replica(largest_json=JSON_LIMIT) as replica:
        await harness.route(1, await harness.arm(1, "summing"))
        await replica.serves(1)
        answer = await replica.http.post(
            INFER,
            content=head + bytes(count * 32),
            headers={"inference-header-content-length": str(len(head))},
        )

    assert answer.status_code == 200


@asynccontextmanager
async def beside_one_that_hangs(
    harness: ScorerHarness, directory: Path, **changed: Any
) -> AsyncGenerator[Replica]:
    """Version 2 hangs when told to; version 1 waits in line too, as a slow model would."""
    mischief = isolated_packages.mischief(directory)
    harness.package_dirs = {**harness.package_dirs, "mischief": mischief}
    async with harness.replica(isolated_call_timeout=1.0, **changed) as replica:
        kept = [await harness.arm(2, "mischief", 0)]
        await harness.route(1, await harness.arm(1, "low"), kept=kept)
        await replica.serves(1)
        replica.slow_down(1.0)
        yield replica


async def test_a_version_that_hangs_fills_its_own_line_and_no_other(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    async with beside_one_that_hangs(harness, tmp_path / "mischief", queue_limit=4) as replica:
        hanging = [asyncio.create_task(asked(replica, "hang")) for _ in range(5)]

        async def wait_in_line() -> bool:
            return replica.metric("loopwright_compute_waiting") == 2

        await eventually(wait_in_line)
        answered = [await replica.infer(ROW) for _ in range(10)]
        ended = [await task for task in hanging]

    assert {answer.status_code for answer in answered} == {200}
    statuses = sorted(answer.status_code for answer in ended)
    assert statuses == [500, 500, 503, 503, 503]
    refused = next(answer for answer in ended if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert "LOOPWRIGHT_SCORER_QUEUE_LIMIT" in refused.json()["error"]


async def test_a_call_whose_time_is_up_is_not_computed(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    async with beside_one_that_hangs(harness, tmp_path / "mischief") as replica:
        first = asyncio.create_task(asked(replica, "hang"))

        async def hangs() -> bool:
            return replica.metric("loopwright_compute_waiting") == 1

        await eventually(hangs)
        data = [isolated_packages.ACTS.index("answer"), 1.0]
        tensor = {"name": "act", "datatype": "FP64", "shape": [1, 2], "data": data}
        late = [
            await replica.http.post(path, json={**body, "parameters": {"timeout": micros}})
            for path, body, micros in (
                (f"/v2/models/{MODEL}/versions/2/infer", {"inputs": [tensor]}, 50_000),
                (INFER, infer_body(ROW), 1),
            )
        ]
        await first
        computed = {
            sample.labels["version"]: sample.value
            for family in replica.service.metrics.registry.collect()
            for sample in family.samples
            if sample.name == COMPUTED
        }

    assert [answer.status_code for answer in late] == [504, 504]
    assert "time that the request gave is up" in late[0].json()["error"]
    assert computed["2"] == 1
    assert "1" not in computed


def rows(columns: Columns, count: int) -> Columns:
    return {name: list(data) * count for name, data in columns.items()}


async def test_large_answers_wait_for_their_clients_within_the_room_for_requests(
    harness: ScorerHarness,
) -> None:
    many = json.dumps(infer_body(rows(ROW, 6000))).encode()
    async with serving(harness, request_buffer=3 * len(many)) as (_, there):
        idle: Sequence[Client] = [await there.connect() for _ in range(8)]
        for client in idle:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(request(many))
        await others_are_answered(there)
        for client in idle:
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        statuses = {(await client.answer()).status for client in idle}
        for client in idle:
            client.close()
        await others_are_answered(there)

    assert statuses <= {200, 503}
