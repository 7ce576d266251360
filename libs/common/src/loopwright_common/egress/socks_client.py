"""`python -m loopwright_common.egress.socks_client GUARD HOST PORT`: input and output go there.

For programs that take a command instead of a proxy, such as ssh. Standard library only.
"""

import os
import socket
import sys
import threading

_CHUNK = 1 << 16


def connect(guard: int, host: str, port: int) -> socket.socket:
    """A connection through the guard at a port of loopback.

    OSError where there is no guard or it refuses the address.
    """
    there = socket.create_connection(("127.0.0.1", guard))
    try:
        ask(there, host, port)
    except BaseException:
        there.close()
        raise
    return there


def ask(there: socket.socket, host: str, port: int) -> None:
    """Have the SOCKS server (5, RFC 1928) at the other end connect; OSError where it does not."""
    name = host.encode()
    there.sendall(b"\x05\x01\x00")
    if read_exactly(there, 2) != b"\x05\x00":
        raise ConnectionError("the SOCKS server wants to know who asks")
    there.sendall(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big"))
    _, status, _, kind = read_exactly(there, 4)
    if status != 0:
        raise ConnectionRefusedError(f"{host} is not to be reached")
    size = read_exactly(there, 1)[0] if kind == 3 else {1: 4, 4: 16}.get(kind, 0)
    read_exactly(there, size + 2)


def read_exactly(there: socket.socket, size: int) -> bytes:
    """So many bytes; ConnectionError where the other end has said all before."""
    read = b""
    while len(read) < size:
        chunk = there.recv(size - len(read))
        if not chunk:
            raise ConnectionError("the connection ended")
        read += chunk
    return read


def main(arguments: list[str]) -> int:
    try:
        there = connect(int(arguments[0]), arguments[1], int(arguments[2]))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    threading.Thread(target=_send, args=(there,), daemon=True).start()
    while chunk := there.recv(_CHUNK):
        os.write(1, chunk)
    return 0


def _send(there: socket.socket) -> None:
    while chunk := os.read(0, _CHUNK):
        there.sendall(chunk)
    there.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
