"""The one service that a stage may call: served to it on a loopback of its own."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.types import ASGIApp
from uvicorn.server import ServerState

from loopwright_common.errors import UnavailableError
from loopwright_common.sandbox import Gateway, await_listener
from loopwright_common.web.connections import ConnectionLimits
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.hardened_http import HardenedHttpProtocol, server_config
from loopwright_common.web.mlflow_errors import mlflow_error_of

_VARIABLE = "MLFLOW_TRACKING_URI"
_MAX_CONNECTIONS = 64
_REQUEST_SECONDS = 30.0
"""How long a stage may take to send a request, and to take some of its answer."""


@dataclass(frozen=True, slots=True)
class StageAccess:
    """What a stage has beside the usual: variables, and the registry to call, if any."""

    environment: Mapping[str, str] = field(default_factory=dict)
    registry: ASGIApp | None = None


OpenAccess = Callable[[], Awaitable[StageAccess]]
"""Asked only when a stage really runs."""


class StageGateway:
    """Lets one command call `app`, from when the command has started."""

    def __init__(self, app: ASGIApp, request_seconds: float = _REQUEST_SECONDS) -> None:
        self._app = app
        connections = ConnectionLimits(_MAX_CONNECTIONS, request_seconds)
        self._guard = RequestGuard(connections=connections, refuse=mlflow_error_of)
        self._ours, self._theirs = socket.socketpair()

    @property
    def policy(self) -> Gateway:
        """The command inherits its file descriptor."""
        return Gateway(_VARIABLE, self._theirs.fileno())

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None, None]:
        """While entered the command is answered; to be entered once it has started."""
        self._theirs.close()
        task = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and not isinstance(task.exception(), UnavailableError):
                await task

    def close(self) -> None:
        self._theirs.close()
        self._ours.close()

    async def _serve(self) -> None:
        with await await_listener(self._ours) as listener:
            await self._answer(listener)

    async def _answer(self, listener: socket.socket) -> None:
        config = server_config(self._app, HardenedHttpProtocol.guarded_by(self._guard))
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        # By its protocol: uvicorn's server ends in tenths of a second, for which stages would wait.
        server = await loop.create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
            sock=listener,
            start_serving=False,  # where it is cancelled while it starts, it has to be closed
        )
        try:
            await server.start_serving()
            await asyncio.Event().wait()
        finally:
            server.close()
            for connection in list(state.connections):
                connection.shutdown()


@asynccontextmanager
async def gateway_to(app: ASGIApp | None) -> AsyncGenerator[StageGateway | None, None]:
    """A gateway for one command, closed afterwards; None where it may call nothing."""
    if app is None:
        yield None
        return
    gateway = StageGateway(app)
    try:
        yield gateway
    finally:
        gateway.close()
