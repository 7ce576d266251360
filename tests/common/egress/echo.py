"""A server on loopback, and who has come to it."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def echoing() -> Generator[tuple[int, list[str]], None, None]:
    """Its port; it answers what it hears."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, address = server.accept()
                except OSError:
                    return
                came.append(address[0])
                with client:
                    while heard := client.recv(1 << 16):
                        client.sendall(heard)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
