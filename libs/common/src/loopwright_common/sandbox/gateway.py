"""The starter's end of a gateway: the listening socket that a command hands out."""

import asyncio
import socket

from loopwright_common.errors import UnavailableError

_PATIENCE = 30.0
"""Seconds in which a command that has started opens its gateway."""


def receive_listener(starter: socket.socket, timeout: float = _PATIENCE) -> socket.socket:
    """The socket that listens inside the sandbox, from the other end of `Gateway.fd`.

    UnavailableError when the command ended before, or was silent for `timeout` seconds.
    """
    starter.settimeout(timeout)
    try:
        return _received(starter)
    except TimeoutError:
        raise _not_opened() from None


async def await_listener(starter: socket.socket) -> socket.socket:
    """The same on an event loop: who is cancelled meanwhile leaves no thread and no socket."""
    starter.setblocking(False)
    try:
        async with asyncio.timeout(_PATIENCE):
            await _until_readable(starter)
    except TimeoutError:
        raise _not_opened() from None
    return _received(starter)


async def _until_readable(waited: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(waited, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(waited)


def _received(starter: socket.socket) -> socket.socket:
    _, descriptors, _, _ = socket.recv_fds(starter, 1, 1)
    if not descriptors:
        raise _not_opened()
    return socket.socket(fileno=descriptors[0])


def _not_opened() -> UnavailableError:
    return UnavailableError("the sandbox could not be set up: it opened no gateway")
