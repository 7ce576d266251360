"""A proxy on this machine that is asked by `CONNECT`."""

import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from loopwright_common.egress.guard import pump


@dataclass
class ConnectProxy:
    """What it was asked for, and by whom."""

    url: str
    asked: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)


@contextmanager
def connect_proxy(
    hosts: Mapping[str, str], status: str = "200 Connection established"
) -> Generator[ConnectProxy, None, None]:
    """Listens until the end; `hosts` says where names lead that mean something to it alone."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            target = self.rfile.readline().decode().split()[1]
            proxy.asked.append(target)
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(": ")
                if name == "Proxy-Authorization":
                    proxy.credentials.append(value)
            self.wfile.write(f"HTTP/1.1 {status}\r\nvia: test\r\n\r\n".encode())
            if status.startswith("2"):
                host, _, port = hosts.get(target, target).rpartition(":")
                with socket.create_connection((host, int(port))) as peer:
                    pump(self.connection, peer)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = ConnectProxy(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield proxy
        server.shutdown()
