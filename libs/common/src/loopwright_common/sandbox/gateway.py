"""The starter's end of a gateway: the listening socket that a command hands out."""

import socket

from loopwright_common.errors import UnavailableError


def receive_listener(starter: socket.socket, timeout: float = 30.0) -> socket.socket:
    """The socket that listens inside the sandbox, from the other end of `Gateway.fd`.

    UnavailableError when the command ended before, or was silent for `timeout` seconds.
    """
    starter.settimeout(timeout)
    try:
        _, descriptors, _, _ = socket.recv_fds(starter, 1, 1)
    except TimeoutError:
        descriptors = []
    if not descriptors:
        raise UnavailableError("the sandbox could not be set up: it opened no gateway")
    return socket.socket(fileno=descriptors[0])
