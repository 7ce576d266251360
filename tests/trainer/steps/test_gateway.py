"""The server of a stage's registry, to a stage that is slow, wordy or asks for all of it."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from loopwright_common.web.client_rates import ClientRates
from loopwright_trainer.steps.gateway import StageGateway

HEAD = b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n"
UPLOAD = b"PUT /x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n{"


async def registry(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads what it is asked to the end, and answers."""
    await Request(scope, receive).body()
    await PlainTextResponse("answered")(scope, receive, send)


class Stage:
    """Connections of one command to its gateway."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self._port, self._stack = port, stack

    async def send(self, sent: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._stack.callback(writer.close)
        writer.write(sent)
        return reader


@asynccontextmanager
async def stage(request_seconds: float = 30.0, rate: float = 1000.0) -> AsyncGenerator[Stage]:
    gateway = StageGateway(registry, request_seconds)
    gateway._guard = replace(gateway._guard, rates=ClientRates(rate))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.socket(fileno=gateway.policy.fd)
        socket.send_fds(ours, [b"x"], [listener.fileno()])
        ours.detach()
        async with AsyncExitStack() as stack, gateway.serving():
            yield Stage(listener.getsockname()[1], stack)
    gateway.close()


async def test_a_whole_request_is_answered() -> None:
    async with stage() as ours:
        answer = await ours.send(HEAD + b"connection: close\r\n\r\n")
        assert (await answer.read()).endswith(b"answered")


@pytest.mark.parametrize("begun", [b"", HEAD, UPLOAD])
async def test_what_a_stage_half_sent_is_not_waited_for(begun: bytes) -> None:
    async with stage(request_seconds=0.3) as ours:
        half = await ours.send(begun)
        async with asyncio.timeout(240):
            with suppress(ConnectionError):
                assert b"answered" not in await half.read()


async def test_a_head_without_end_of_a_stage_is_refused() -> None:
    async with stage() as ours:
        answer = await ours.send(HEAD + b"x-long: " + b"x" * (1 << 20))
        assert (await answer.readline()).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"x-long: " + b"x" * (1 << 20), 431),
        (HEAD + b"no header\r\n\r\n", 400),
        (b"GET /%\xff HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nno length\r\n", 400),
        (HEAD, 408),
    ],
)
async def test_what_is_refused_before_the_registry_is_told_as_it_would(
    sent: bytes, status: int
) -> None:
    async with stage(request_seconds=1 if status == 408 else 30.0) as ours:
        refused = await ours.send(sent)
        start, _, body = (await whole(refused)).partition(b"\r\n\r\n")

    assert start.startswith(b"HTTP/1.1 %d" % status)
    assert set(json.loads(body)) == {"error_code", "message"}


async def whole(answer: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, which may be a reset."""
    got = b""
    with suppress(ConnectionError):
        while some := await answer.read(1 << 16):
            got += some
    return got


async def test_a_client_in_a_hurry_is_told_so_in_its_protocol() -> None:
    async with stage(rate=0.1) as ours:
        await (await ours.send(HEAD + b"\r\n")).readline()
        start, _, body = (await whole(await ours.send(HEAD + b"\r\n"))).partition(b"\r\n\r\n")

    assert start.startswith(b"HTTP/1.1 429")
    assert b"retry-after: " in start
    assert json.loads(body)["error_code"] == "REQUEST_LIMIT_EXCEEDED"


async def test_gateways_leave_no_socket_task_or_thread() -> None:
    before = left_open()
    for _ in range(10):
        async with stage() as ours:
            await ours.send(HEAD)
        gateway = StageGateway(registry)
        async with gateway.serving():  # a command that has opened none yet
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        gateway.close()
    async with asyncio.timeout(60):
        while left_open() != before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def left_open() -> tuple[int, int, int]:
    """Sockets, tasks and threads of this process."""
    sockets = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            sockets += descriptor.readlink().name.startswith("socket:")
    return sockets, len(asyncio.all_tasks()), threading.active_count()


async def test_a_stage_has_so_many_connections_and_no_more() -> None:
    async with stage() as ours:
        for _ in range(64):
            await ours.send(HEAD)
        refused = await ours.send(HEAD + b"\r\n")
        assert (await refused.readline()).startswith(b"HTTP/1.1 503")
