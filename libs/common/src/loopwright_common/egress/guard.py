"""A SOCKS proxy of our own: it resolves a name once and connects to what it has judged.

Whoever asks through it, also after a redirect, reaches public addresses and what an operator
allowed. What a name says the next time it is asked is of no matter, and of refused addresses it is
never tried whether anything listens there.
"""

import re
import selectors
import socket
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

from loopwright_common.egress.rules import EgressRules, RefusedAddressError
from loopwright_common.egress.socks_client import read_exactly

_SECONDS = 15.0
_IDLE_SECONDS = 300.0
_CHUNK = 1 << 16
_DONE, _FAILED, _REFUSED = 0, 1, 2
_NOWHERE = b"\x01\x00\x00\x00\x00\x00\x00"
"""An address of version 4 and a port, which the answer has to name and nobody reads."""
_HOST = re.compile(r"[\w.:%-]+", re.ASCII)
_MOST_REMEMBERED = 20


class EgressGuard:
    """Answers while it is entered, at a listening socket that it closes: one of loopback, or given.

    `refused` are hosts with their ports that somebody asked for and may not reach, `failed` those
    that could not be reached, and why.
    """

    def __init__(self, rules: EgressRules, listener: socket.socket | None = None) -> None:
        self._server = _Server(rules, listener or socket.create_server(("127.0.0.1", 0)))
        self.refused, self.failed = self._server.refused, self._server.failed

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

    def __init__(self, rules: EgressRules, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.rules = rules
        self.refused: list[str] = []
        self.failed: list[str] = []

    def handle_error(self, *_: object) -> None:
        """Nothing to tell: one of the two ends went away."""


class _Request(BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        self.request.settimeout(_SECONDS)
        host, port = self._read_wish()
        there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            peer = self.server.rules.connect(host, port)
        except RefusedAddressError:
            self._refuse(_REFUSED, self.server.refused, there)
            return
        except OSError as error:
            self._refuse(_FAILED, self.server.failed, f"{there}: {error.strerror or error}")
            return
        with peer:
            self.request.sendall(bytes((5, _DONE, 0)) + _NOWHERE)
            pump(self.request, peer)

    def _refuse(self, status: int, remembered: list[str], what: str) -> None:
        if what not in remembered and len(remembered) < _MOST_REMEMBERED:
            remembered.append(what)
        self.request.sendall(bytes((5, status, 0)) + _NOWHERE)

    def _read_wish(self) -> tuple[str, int]:
        """The host and the port, as RFC 1928 sends them."""
        _, methods = read_exactly(self.request, 2)
        read_exactly(self.request, methods)
        self.request.sendall(b"\x05\x00")
        kind = read_exactly(self.request, 4)[3]
        if kind == 1:
            host = socket.inet_ntop(socket.AF_INET, read_exactly(self.request, 4))
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, read_exactly(self.request, 16))
        else:
            host = read_exactly(self.request, read_exactly(self.request, 1)[0]).decode("ascii")
        if not _HOST.fullmatch(host):
            raise ConnectionError("no host has such a name")
        port = int.from_bytes(read_exactly(self.request, 2), "big")
        return host.lower().removesuffix("."), port


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either says until one of them ends, or neither says anything for minutes."""
    to = {one: other, other: one}
    with selectors.DefaultSelector() as selector:
        for end in to:
            end.settimeout(_IDLE_SECONDS)
            selector.register(end, selectors.EVENT_READ, end)
        while ready := selector.select(_IDLE_SECONDS):
            for key, _ in ready:
                chunk = key.data.recv(_CHUNK)
                if not chunk:
                    return
                to[key.data].sendall(chunk)
