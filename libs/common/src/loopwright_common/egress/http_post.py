"""One request over HTTP to an address that was judged: no redirects, no credentials.

httpx has no place for a connection that somebody else made, and its SOCKS client leaves sockets
open where a proxy refuses.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from loopwright_common.egress.rules import EgressRules

_CHUNK = 1 << 16
_PORTS = {"http": 80, "https": 443}


class LongAnswerError(ConnectionError):
    """An answer of more bytes than are read."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status and a body, as it was sent."""

    status: int
    content: bytes


async def post_json(rules: EgressRules, url: str, body: bytes, limit: int) -> HttpAnswer:
    """What the URL answers to a `POST` of JSON; it waits as long as its caller does.

    RefusedAddressError where the rules forbid the address, LongAnswerError beyond `limit` bytes,
    another OSError where nobody answers, or not in HTTP.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    tls = await asyncio.to_thread(ssl.create_default_context) if parts.scheme == "https" else None
    peer = await _connect(rules, host, port)
    try:
        reader, writer = await asyncio.open_connection(
            sock=peer, ssl=tls, server_hostname=host if tls else None
        )
    except UnicodeError as error:
        peer.close()
        raise ConnectionError(f"no certificate has such a name: {host}") from error
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        return await _exchange(reader, writer, path, parts.netloc, body, limit)
    except h11.RemoteProtocolError as error:
        raise ConnectionError(f"no answer in HTTP: {error}") from error
    finally:
        writer.transport.abort()


async def _connect(rules: EgressRules, host: str, port: int) -> socket.socket:
    """Who is not waited for any more is hung up on."""
    connecting = asyncio.ensure_future(asyncio.to_thread(rules.connect, host, port))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_hang_up)
        raise


def _hang_up(connecting: asyncio.Future[socket.socket]) -> None:
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().close()


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    host: str,
    body: bytes,
    limit: int,
) -> HttpAnswer:
    http = h11.Connection(h11.CLIENT)
    headers = {
        "host": host,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
    }
    request = h11.Request(method="POST", target=path, headers=list(headers.items()))
    for part in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(http.send(part) or b"")
    await writer.drain()
    return await _answer(http, reader, limit)


async def _answer(http: h11.Connection, reader: asyncio.StreamReader, limit: int) -> HttpAnswer:
    """Heads count as well: of provisional ones there may be any number."""
    status, content, heard = 0, b"", 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            chunk = await reader.read(_CHUNK)
            heard += len(chunk)
            if heard > limit + _CHUNK:
                raise LongAnswerError(f"an answer of more than {limit} bytes")
            http.receive_data(chunk)
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) > limit:
                raise LongAnswerError(f"an answer of more than {limit} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return HttpAnswer(status, content)
