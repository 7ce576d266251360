"""A SOCKS proxy of our own: it resolves a name once and connects to what it has judged.

Whoever asks through it, also after a redirect, reaches public addresses and those that an operator
allowed. What a name says the next time it is asked is of no matter, and of refused addresses it is
never tried whether anything listens there.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Sequence
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

from loopwright_common.egress.addresses import AllowedAddress, address_of, is_allowed

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host, for a port."""
_SECONDS = 15.0
_CHUNK = 1 << 16
_DONE, _REFUSED = 0, 2
_NOWHERE = b"\x01\x00\x00\x00\x00\x00\x00"
"""An address of version 4 and a port, which the answer has to name and nobody reads."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system says; OSError where there are none."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class EgressGuard:
    """Listens on loopback while it is entered."""

    def __init__(self, allowed: Sequence[AllowedAddress], resolver: Resolver = resolve) -> None:
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.allowed, self._server.resolver = allowed, resolver

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allowed: Sequence[AllowedAddress]
    resolver: Resolver

    def handle_error(self, *_: object) -> None:
        """Nothing to tell: one of the two ends went away."""


class _Request(BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        self.request.settimeout(_SECONDS)
        host, port = self._read_wish()
        try:
            peer = self._connect(host, port)
        except OSError:
            self.request.sendall(bytes((5, _REFUSED, 0)) + _NOWHERE)
            return
        with peer:
            self.request.sendall(bytes((5, _DONE, 0)) + _NOWHERE)
            _pump(self.request, peer)

    def _read_wish(self) -> tuple[str, int]:
        """The host and the port, as RFC 1928 sends them."""
        _, methods = self._read(2)
        self._read(methods)
        self.request.sendall(b"\x05\x00")
        kind = self._read(4)[3]
        if kind == 1:
            host = socket.inet_ntop(socket.AF_INET, self._read(4))
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, self._read(16))
        else:
            host = self._read(self._read(1)[0]).decode("ascii")
        return host, int.from_bytes(self._read(2), "big")

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            chunk = self.request.recv(size - len(read))
            if not chunk:
                raise ConnectionError("closed")
            read += chunk
        return read

    def _connect(self, host: str, port: int) -> socket.socket:
        """A connection to the first address that may be reached; OSError where there is none."""
        for text in self.server.resolver(host, port):
            if not is_allowed(address_of(text), port, self.server.allowed):
                continue
            with contextlib.suppress(OSError):
                return self._checked(socket.create_connection((text, port), _SECONDS))
        raise ConnectionRefusedError(host)

    def _checked(self, peer: socket.socket) -> socket.socket:
        """The connection, unless it ends at an address of this machine that is not allowed."""
        there, here = peer.getpeername()[:2], peer.getsockname()[0]
        listed = any(a.holds(address_of(there[0]), there[1]) for a in self.server.allowed)
        if listed or (there[0] != here and is_allowed(address_of(there[0]), there[1], ())):
            return peer
        peer.close()
        raise PermissionError("an address of this machine")


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either says until one of them ends, or neither says anything for minutes."""
    to = {one: other, other: one}
    while ready := select.select([one, other], [], [], 20 * _SECONDS)[0]:
        for end in ready:
            chunk = end.recv(_CHUNK)
            if not chunk:
                return
            to[end].sendall(chunk)
