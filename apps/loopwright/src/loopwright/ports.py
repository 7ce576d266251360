"""Ports of this machine: free ones, and whether one can be had."""

import random
import socket
from contextlib import ExitStack, suppress

from pydantic import ValidationError

from loopwright.client import PORTS
from loopwright_common.errors import ConflictError, InvalidError, UnavailableError
from loopwright_common.settings import ServiceSettings

_NOT_EPHEMERAL = range(20_000, 32_768)
"""Below those that outgoing connections are given (from 32768 on Linux, 49152 by RFC 6335): one of
them could take a port between its choice and the start of who is to listen there."""


def port_of(service: str) -> int:
    """The port that the service's own settings will find in the environment.

    InvalidError where the setting is no port.
    """

    class PortSettings(ServiceSettings):
        port: int = PORTS[service]

    PortSettings.service = service
    try:
        return PortSettings().port
    except ValidationError as error:
        setting = f"LOOPWRIGHT_{service.upper()}_PORT"
        raise InvalidError(f"{setting}: {error.errors()[0]['msg']}", field=setting) from None


def service_urls() -> dict[str, str]:
    """Where the services of this machine's system answer."""
    return {service: f"http://127.0.0.1:{port_of(service)}" for service in PORTS}


def check_ports() -> None:
    """ConflictError names port and setting where something else listens."""
    for service in PORTS:
        check_port(port_of(service), service, f"set LOOPWRIGHT_{service.upper()}_PORT")


def check_port(port: int, owner: str, remedy: str) -> None:
    """Raise ConflictError with the remedy where something else listens."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConflictError(
                f"port {port} of the {owner} cannot be used ({error.strerror}); free it or {remedy}"
            ) from None


def free_ports(*names: str) -> dict[str, int]:
    """A free port for each; all are held until the last is known, so none comes twice.

    UnavailableError when a hundred tries find none.
    """
    with ExitStack() as held:
        return {name: _hold_free_port(held) for name in names or PORTS}


def free_port() -> int:
    """One free port. UnavailableError as of `free_ports`."""
    return free_ports("any")["any"]


def _hold_free_port(held: ExitStack) -> int:
    for port in random.SystemRandom().sample(_NOT_EPHEMERAL, 100):
        holder = held.enter_context(socket.socket())
        with suppress(OSError):
            holder.bind(("127.0.0.1", port))
            return port
    first, last = _NOT_EPHEMERAL[0], _NOT_EPHEMERAL[-1]
    raise UnavailableError(f"a hundred ports between {first} and {last} are all taken")
