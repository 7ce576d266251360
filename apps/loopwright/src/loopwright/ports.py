"""Ports of this machine: free ones, and whether one can be had."""

import socket

from pydantic import ValidationError

from loopwright.client import PORTS
from loopwright_common.errors import ConflictError, InvalidError
from loopwright_common.settings import ServiceSettings


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
    """A free port for each; all are held until the last is known, so none comes twice."""
    sockets = {name: socket.socket() for name in names or PORTS}
    try:
        for held in sockets.values():
            held.bind(("127.0.0.1", 0))
        return {name: int(held.getsockname()[1]) for name, held in sockets.items()}
    finally:
        for held in sockets.values():
            held.close()
