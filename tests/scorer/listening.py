"""A replica on a port of loopback, and clients that write their bytes themselves."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from loopwright_common.process.http_server import HttpServer
from loopwright_common.process.service import Service
from tests.scorer.harness import MODEL, Columns, infer_body

INFER = f"/v2/models/{MODEL}/infer"


@asynccontextmanager
async def listening(service: Service, keep_alive: int = 5) -> AsyncGenerator["Listener"]:
    """Serve as the service would be; its clients are closed at the end.

    `keep_alive`: seconds that a connection may be idle.
    """
    config = uvicorn.Config(
        service.app,
        host="127.0.0.1",
        port=0,
        http=service.http.guarded_by(service.guard),
        ws="none",
        proxy_headers=False,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=keep_alive,
    )
    server = HttpServer(config)
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    listener = Listener(server.servers[0].sockets[0].getsockname()[1])
    try:
        yield listener
    finally:
        for client in listener.clients:
            client.close()
        server.should_exit = True
        await serving


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def infer(self, columns: Columns, *more: str, path: str = INFER) -> Answer:
        return await self.ask(json.dumps(infer_body(columns)).encode(), *more, path=path)

    async def ask(self, body: bytes, *more: str, path: str = INFER) -> Answer:
        self.writer.write(request(body, *more, path=path))
        return await self.answer()

    async def answer(self) -> Answer:
        """The next one; IncompleteReadError where the connection ends before."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in head[1:] if line)
        headers = {name.lower(): value for name, _, value in pairs}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, body)

    async def end(self) -> bytes:
        """What comes until the server ends the connection, in whichever way."""
        came = b""
        with suppress(ConnectionError):
            while some := await self.reader.read(1 << 16):
                came += some
        return came

    def close(self) -> None:
        self.writer.close()


@dataclass
class Listener:
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]


def request(body: bytes, *more: str, path: str = INFER) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body
