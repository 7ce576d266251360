"""The HTTP server of a service: its socket, and uvicorn without what several cannot share."""

import asyncio
import contextlib
import math
import socket

import uvicorn

from loopwright_common.errors import UnavailableError
from loopwright_common.observability import tracing
from loopwright_common.process.service import Service
from loopwright_common.web.hardened_http import server_config


class HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling: several run on one loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def listen(service: Service) -> socket.socket:
    """The service's socket; UnavailableError when its port is taken.

    Bound here and not by the server, which would end the process then.
    """
    try:
        return _socket(service)
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {service.host}:{service.port}: {error.strerror}; free it or set "
            f"LOOPWRIGHT_{service.name.upper()}_PORT"
        ) from None


def _socket(service: Service) -> socket.socket:
    # The protocol is named, or asyncio leaves out TCP_NODELAY and answers take 40 ms.
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if service.shares_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((service.host, service.port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def http_server(service: Service) -> HttpServer:
    traced = tracing.is_configured(service.name)
    return HttpServer(
        server_config(
            tracing.TraceRequests(service.app, service.name) if traced else service.app,
            service.http.guarded_by(service.guard),
            host=service.host,
            port=service.port,
            timeout_graceful_shutdown=math.ceil(service.shutdown_grace),
        )
    )
