"""`python -m loopwright_common.egress.socks_client GUARD HOST PORT`: input and output go there.

For programs that take a command instead of a proxy, such as ssh. Standard library only.
"""

import os
import socket
import sys
import threading

_CHUNK = 1 << 16


def connect(guard: int, host: str, port: int) -> socket.socket:
    """A connection (SOCKS 5, RFC 1928) through the guard at a port of loopback.

    OSError where there is no guard or it refuses the address.
    """
    there = socket.create_connection(("127.0.0.1", guard))
    name = host.encode()
    there.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes((len(name),)) + name)
    there.sendall(port.to_bytes(2, "big"))
    answer = b""
    while len(answer) < 12:
        chunk = there.recv(12 - len(answer))
        if not chunk:
            break
        answer += chunk
    if len(answer) < 12 or answer[3] != 0:
        there.close()
        raise ConnectionRefusedError(f"{host} is not to be reached")
    return there


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
