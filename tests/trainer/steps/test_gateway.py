"""The server of a stage's registry, to a stage that is slow, wordy or asks for all of it."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

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
async def stage(request_seconds: float = 30.0) -> AsyncGenerator[Stage]:
    gateway = StageGateway(registry, request_seconds)
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


async def test_a_stage_has_so_many_connections_and_no_more() -> None:
    async with stage() as ours:
        for _ in range(64):
            await ours.send(HEAD)
        refused = await ours.send(HEAD + b"\r\n")
        assert (await refused.readline()).startswith(b"HTTP/1.1 503")
